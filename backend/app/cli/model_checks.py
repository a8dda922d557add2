"""Whether the models of the settings can be asked: their names and keys, and, when wanted, one real call."""

from app.cli.finding import Finding
from app.config import LLMSettings
from app.enrichment.prompts import PROMPT_ID, enrichment_messages
from app.enrichment.schemas import EnrichmentSchema
from app.llm.vendors.client import LLMClient
from app.llm.vendors.model_check import live_problem, problems_of
from app.prompts.registry import PromptRegistry

_SAMPLE = "Water the plants on Monday and on Thursday; the fern wants more than the cactus."


async def examine_model(settings: LLMSettings, prompts: PromptRegistry, *, live: bool) -> list[Finding]:
    """The provider, then each model of the plan. litellm is imported for the provider of that name only."""
    findings = [_examine_provider(settings)]
    if not settings.enabled:
        waits = "items wait until it is true again" if settings.disabled_mode == "wait" else "the stub stands in"
        findings.append(Finding("llm", f"LITEVAULT_LLM_ENABLED is false: {waits}"))
    if settings.provider == "stub":
        return findings + ([Finding("live call", "the stub asks nobody", is_well=None)] if live else [])
    client = LLMClient(settings)
    try:
        for place, model in enumerate(settings.models):
            part = "fallback" if place else "model"
            problems = problems_of(model, await client.facts(model), settings)
            findings += [Finding(part, problem, is_well=False) for problem in problems]
            if not problems:
                findings.append(Finding(part, f"{model}: its name and key are set"))
        if live:
            findings.append(await _examine_live(client, settings, prompts))
    finally:
        await client.close()
    return findings


def _examine_provider(settings: LLMSettings) -> Finding:
    if settings.provider == "stub":
        return Finding("provider", "stub: asks no model; for real ones set LITEVAULT_LLM_PROVIDER=litellm")
    own = " at LITEVAULT_LLM_API_BASE" if settings.api_base else ""
    return Finding(
        "provider", f"litellm{own}, {settings.timeout_seconds:g} s an item, {settings.concurrency} at a time"
    )


async def _examine_live(client: LLMClient, settings: LLMSettings, prompts: PromptRegistry) -> Finding:
    """Of the first model; no other one was asked for."""
    if not settings.enabled:
        return Finding("live call", "not made while LITEVAULT_LLM_ENABLED is false", is_well=None)
    ask = enrichment_messages(prompts.get(PROMPT_ID), _SAMPLE)
    problem = await live_problem(client, settings, model=settings.model, ask=ask, form=EnrichmentSchema)
    return Finding("live call", problem or f"{settings.model} answered well", is_well=problem is None)
