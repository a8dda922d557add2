"""What one model is asked, and what is known of it: plain values between the gateway and the client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from app.providers.provider import Provider

Answer = TypeVar("Answer", bound=BaseModel)

# As OpenAI writes them: `role`, `content` and, around tools, a few more.
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Extraction(Generic[Answer]):
    """Ask `model` for one `response_model`. `timeout_seconds` is for the whole run, re-asks included.

    The messages hold a person's text, so they are in no repr. `provider` None: the one of the settings.
    """

    model: str
    response_model: type[Answer]
    messages: tuple[Message, ...] = field(repr=False)
    timeout_seconds: float
    temperature: float
    max_tokens: int
    max_reasks: int
    provider: Provider | None = None
    task: str = ""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Ask `model` for an answer in free form. `options` go to the vendor as they are.

    Of a stream, `first_token_seconds` and `stall_seconds` bound its silences, `timeout_seconds` the whole.
    """

    model: str
    provider: Provider
    messages: tuple[Message, ...] = field(repr=False)
    timeout_seconds: float
    options: Mapping[str, Any] = field(repr=False)
    first_token_seconds: float = 60.0
    stall_seconds: float = 60.0
    task: str = ""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the price list says of a model. Prices are USD a token, limits are in tokens; None is unknown, never 0.

    `cached_price_usd` is of input that the provider had in its own cache.
    """

    provider: str
    is_provider_known: bool = True
    is_listed: bool = False
    takes_json_schema: bool = False
    takes_tools: bool = False
    takes_temperature: bool = True
    input_price_usd: Decimal | None = None
    output_price_usd: Decimal | None = None
    cached_price_usd: Decimal | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    missing_keys: tuple[str, ...] = ()


def said_in(message: Message) -> str:
    """Its text; of what comes in parts, the parts that are text."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text") or "" for part in content)


def provider_of(model: str) -> str:
    """The provider's name in `provider/model`; a bare name is OpenAI's, as in OpenAI's own API."""
    provider, slash, _ = model.partition("/")
    return provider if slash else "openai"
