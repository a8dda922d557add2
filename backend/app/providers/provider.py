"""What a provider and its models are, as values. No value here shows a key or an address when it is printed."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.providers.mock import MockFixtures

_OPENAI, _ANTHROPIC = "https://api.openai.com/v1", "https://api.anthropic.com"
_PORTS = {"http": 80, "https": 443}


class ProviderKind(StrEnum):
    """The wire that it speaks. STUB and MOCK have none; LITELLM is any other vendor that litellm knows by name."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OPENAI_COMPATIBLE = "openai_compatible"
    LITELLM = "litellm"
    STUB = "stub"
    MOCK = "mock"

    @property
    def can_be_registered(self) -> bool:
        return self in (ProviderKind.OPENAI, ProviderKind.ANTHROPIC, ProviderKind.OPENAI_COMPATIBLE)

    @property
    def has_wire(self) -> bool:
        """Whether calls leave this process."""
        return self not in (ProviderKind.STUB, ProviderKind.MOCK)

    @property
    def vendors_address(self) -> str | None:
        """Where the vendor's own API is; null for kinds that no single vendor serves."""
        return {ProviderKind.OPENAI: _OPENAI, ProviderKind.ANTHROPIC: _ANTHROPIC}.get(self)


class HealthCheck(StrEnum):
    """What is asked to see whether a provider lives: its list of models, Ollama's list, or nothing."""

    MODELS = "models"
    OLLAMA_TAGS = "ollama_tags"
    NONE = "none"


class ProviderSource(StrEnum):
    SETTINGS = "settings"
    DATABASE = "database"


class KeyState(StrEnum):
    """UNREADABLE: stored, but under an encryption key that this process does not have."""

    NONE = "none"
    SET = "set"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model, and what is known better here than in the price list; null: ask there. Prices are USD a token."""

    name: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    input_price_usd: Decimal | None = None
    output_price_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """Where calls for `name/model` go. Equal values may share a connection; a limit of null is none.

    `is_local`: a text sent there stays on machines of the operator's own. `key_state` UNREADABLE: it cannot be asked.
    `fixtures` are the mock's answers.
    """

    name: str
    kind: ProviderKind
    base_url: str | None = field(default=None, repr=False)
    api_key: SecretStr | None = None
    key_state: KeyState = KeyState.NONE
    is_local: bool = False
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrency: int | None = None
    models: tuple[ModelSpec, ...] = ()
    is_enabled: bool = True
    health_check: HealthCheck = HealthCheck.MODELS
    source: ProviderSource = ProviderSource.DATABASE
    id: str | None = None
    fixtures: MockFixtures | None = field(default=None, repr=False)

    @property
    def address(self) -> str | None:
        """Where it is asked: its own address, or its vendor's."""
        return self.base_url or self.kind.vendors_address

    def model(self, name: str) -> ModelSpec | None:
        """What was said of this model; null when nothing was."""
        return next((model for model in self.models if model.name == name), None)


def origin_of(address: str) -> str:
    """Scheme, host and port: whoever is there reads the key."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{parts.port or _PORTS.get(parts.scheme, 0)}"
