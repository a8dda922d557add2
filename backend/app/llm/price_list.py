"""What the vendors' own list says of a model, read from the tables that come with litellm."""

from decimal import Decimal
from typing import Any

from app.llm.extraction import ModelFacts, provider_of


def facts_of(model: str, litellm: Any, *, temperature: float) -> ModelFacts:  # noqa: ANN401 - the module
    """Asks nobody. A model that is not listed may still exist: a local one never is."""
    provider = provider_of(model)
    try:
        name, vendor, _, _ = litellm.get_llm_provider(model)
    except litellm.BadRequestError:
        return ModelFacts(provider, is_provider_known=False)
    # The table and not litellm.get_model_info: that one asks an Ollama server over the network.
    entry = litellm.model_cost.get(model) or litellm.model_cost.get(name) or {}
    if entry.get("litellm_provider") != vendor:
        entry = {}
    return ModelFacts(
        provider,
        is_listed=bool(entry),
        takes_json_schema=bool(entry.get("supports_response_schema")),
        takes_tools=bool(entry.get("supports_function_calling")),
        takes_temperature=_takes(litellm, name, vendor, temperature),
        input_price_usd=_price(entry.get("input_cost_per_token")),
        output_price_usd=_price(entry.get("output_cost_per_token")),
        missing_keys=tuple(litellm.validate_environment(model)["missing_keys"]),
    )


def _takes(litellm: Any, name: str, vendor: str, temperature: float) -> bool:  # noqa: ANN401 - the module
    """Whether the model lets us choose: reasoning models refuse any temperature but their own."""
    try:
        litellm.get_optional_params(model=name, custom_llm_provider=vendor, temperature=temperature)
    except litellm.UnsupportedParamsError:
        return False
    return True


def _price(cost_per_token: float | None) -> Decimal | None:
    return None if cost_per_token is None else Decimal(str(cost_per_token))
