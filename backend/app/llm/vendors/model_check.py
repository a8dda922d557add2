"""What is wrong with the settings of a model, in sentences for `litevault check`."""

from app.config import LLMSettings
from app.errors import LLMError
from app.llm.extraction import Answer, Extraction, Message, ModelFacts, provider_of
from app.llm.vendors.client import LLMClient


def problems_of(model: str, facts: ModelFacts, settings: LLMSettings) -> list[str]:
    """One sentence each, with its mend; empty when nothing is wrong that can be known without asking."""
    if not facts.is_provider_known or "/" not in model:
        example = "write provider/model in LITEVAULT_LLM_MODEL, for example openai/gpt-4o-mini"
        return [f"{model}: names no known provider; {example}"]
    problems = [f"{model}: {key} is not set" for key in _missing_keys(facts, settings)]
    is_own_server = _is_own_server(facts.provider, settings)
    if not facts.is_listed and not is_own_server:
        problems.append(f"{model}: is in no price list; check its spelling, else its costs stay unknown")
    wants_schema = settings.structured_mode == "json_schema"
    if facts.is_listed and not is_own_server and wants_schema and not facts.takes_json_schema:
        problems.append(f"{model}: takes no JSON schema; set LITEVAULT_LLM_STRUCTURED_MODE to auto")
    return problems


async def live_problem(
    client: LLMClient, settings: LLMSettings, *, model: str, ask: tuple[Message, ...], form: type[Answer]
) -> str | None:
    """What one real call ends in, billed like any other; None when it was answered well."""
    request = Extraction(
        model=model,
        response_model=form,
        messages=ask,
        timeout_seconds=settings.timeout_seconds,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        max_reasks=0,
    )
    try:
        await client.extract(request)
    except LLMError as fault:
        return f"{model}: {fault.explain()} {fault.next_step}"
    return None


def _missing_keys(facts: ModelFacts, settings: LLMSettings) -> list[str]:
    """Those that neither the environment nor `.env` sets; a server of one's own asks for none."""
    set_here = {"OPENAI_API_KEY": settings.openai_api_key, "ANTHROPIC_API_KEY": settings.anthropic_api_key}
    if _is_own_server(facts.provider, settings):
        return []
    return [key for key in facts.missing_keys if set_here.get(key) is None]


def _is_own_server(provider: str, settings: LLMSettings) -> bool:
    return settings.api_base is not None and provider == provider_of(settings.model)
