"""Which provider the settings ask for."""

from app.config import LLMSettings
from app.enrichment.litellm_provider import LiteLLMProvider
from app.enrichment.provider_interface import EnrichmentProvider
from app.enrichment.stub_provider import StubProvider
from app.llm.gateway import Gateway
from app.prompts.registry import PromptRegistry


def build_provider(
    settings: LLMSettings, prompts: PromptRegistry, gateway: Gateway | None = None
) -> EnrichmentProvider:
    """A new provider, not yet started; the stub also where it is to stand in for a switched-off one.

    Without a gateway to share it has one of its own.
    """
    is_switched_to_stub = not settings.enabled and settings.disabled_mode == "stub"
    if settings.provider == "stub" or is_switched_to_stub:
        return StubProvider(settings, prompts)
    return LiteLLMProvider(settings, prompts, gateway)
