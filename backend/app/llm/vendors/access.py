"""From a provider, as it is set up, to what the vendors' code is told: pure, the only place that knows its names."""

from typing import Any

from app.providers.provider import Provider, ProviderKind

# How litellm names the wires. A provider of kind LITELLM is named as litellm names it.
_PREFIXES = {
    ProviderKind.OPENAI: "openai",
    ProviderKind.ANTHROPIC: "anthropic",
    ProviderKind.OPENAI_COMPATIBLE: "openai",
}


def vendor_name(provider: Provider, model: str) -> str:
    """litellm's name for `provider/model`."""
    prefix = _PREFIXES.get(provider.kind)
    return model if prefix is None else f"{prefix}/{bare_name(provider, model)}"


def bare_name(provider: Provider, model: str) -> str:
    """The model's name as its provider knows it."""
    return model.removeprefix(f"{provider.name}/")


def vendor_options(provider: Provider, model: str) -> dict[str, Any]:
    """Holds the key: for no log and no repr."""
    options: dict[str, Any] = {"model": vendor_name(provider, model)}
    if provider.api_key is not None:
        options["api_key"] = provider.api_key.get_secret_value()
    if provider.base_url is not None:
        options["api_base"] = provider.base_url
        options.setdefault("api_key", "none")  # a local server asks for none, the SDK for any
    return options
