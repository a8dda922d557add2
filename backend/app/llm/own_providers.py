"""stand-in until providers lands"""

from app.config import LLMSettings
from app.providers.provider import Provider, ProviderKind, ProviderSource

_KINDS = {"openai": ProviderKind.OPENAI, "anthropic": ProviderKind.ANTHROPIC}


def providers_of(settings: LLMSettings) -> dict[str, Provider]:
    found = {"stub": Provider("stub", ProviderKind.STUB, is_local=True, source=ProviderSource.SETTINGS)}
    if settings.provider != "litellm":
        return found
    keys = {"openai": settings.openai_api_key, "anthropic": settings.anthropic_api_key}
    for name in [*(model.partition("/")[0] if "/" in model else "openai" for model in settings.models), *_KINDS]:
        first = settings.model.partition("/")[0] if "/" in settings.model else "openai"
        found.setdefault(
            name,
            Provider(
                name,
                _KINDS.get(name, ProviderKind.LITELLM),
                base_url=settings.api_base if name == first else None,
                api_key=keys.get(name),
                source=ProviderSource.SETTINGS,
            ),
        )
    return found
