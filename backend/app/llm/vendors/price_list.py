"""What is known of a model: from the tables that come with litellm, and over them what the operator says."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from app.llm.extraction import ModelFacts
from app.llm.vendors.access import bare_name, vendor_name
from app.providers.provider import ModelSpec, Provider, ProviderKind


def facts_of(provider: Provider, model: str, litellm: Any, *, temperature: float) -> ModelFacts:  # noqa: ANN401
    """Asks nobody. A model that is not listed may still exist: a local one never is."""
    spec = provider.model(bare_name(provider, model))
    return _overridden(_listed_facts(provider, model, litellm, temperature), spec)


def _listed_facts(provider: Provider, model: str, litellm: Any, temperature: float) -> ModelFacts:  # noqa: ANN401
    if provider.kind is ProviderKind.OPENAI_COMPATIBLE:
        # Whatever it calls its models, they are not OpenAI's, and cost other prices.
        return ModelFacts(provider.name)
    known_as = vendor_name(provider, model)
    try:
        name, vendor, _, _ = litellm.get_llm_provider(known_as)
    except litellm.BadRequestError:
        return ModelFacts(provider.name, is_provider_known=False)
    # The table and not litellm.get_model_info: that one asks an Ollama server over the network.
    entry = litellm.model_cost.get(known_as) or litellm.model_cost.get(name) or {}
    if entry.get("litellm_provider") != vendor:
        entry = {}
    return ModelFacts(
        provider.name,
        is_listed=bool(entry),
        takes_json_schema=bool(entry.get("supports_response_schema")),
        takes_tools=bool(entry.get("supports_function_calling")),
        takes_temperature=_takes(litellm, name, vendor, temperature),
        input_price_usd=_price(entry.get("input_cost_per_token")),
        output_price_usd=_price(entry.get("output_cost_per_token")),
        cached_price_usd=_price(entry.get("cache_read_input_token_cost")),
        context_window=_tokens(entry.get("max_input_tokens") or entry.get("max_tokens")),
        max_output_tokens=_tokens(entry.get("max_output_tokens")),
        missing_keys=tuple(litellm.validate_environment(known_as)["missing_keys"]),
    )


def _overridden(facts: ModelFacts, spec: ModelSpec | None) -> ModelFacts:
    """What was said of the model replaces the list; a price of one's own says nothing of cached input."""
    if spec is None:
        return facts
    said = {
        "context_window": spec.context_window,
        "max_output_tokens": spec.max_output_tokens,
        "input_price_usd": spec.input_price_usd,
        "output_price_usd": spec.output_price_usd,
    }
    cached = facts.cached_price_usd if spec.input_price_usd is None else None
    changes: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    return replace(facts, **changes, cached_price_usd=cached)


def _takes(litellm: Any, name: str, vendor: str, temperature: float) -> bool:  # noqa: ANN401 - the module
    """Whether the model lets us choose: reasoning models refuse any temperature but their own."""
    try:
        litellm.get_optional_params(model=name, custom_llm_provider=vendor, temperature=temperature)
    except litellm.UnsupportedParamsError:
        return False
    return True


def _price(cost_per_token: float | None) -> Decimal | None:
    return None if cost_per_token is None else Decimal(str(cost_per_token))


def _tokens(limit: object) -> int | None:
    """The list holds a few that are written as text."""
    return limit if isinstance(limit, int) and limit > 0 else None
