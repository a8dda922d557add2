"""One structured question to a model, and what is known of the model that is asked: plain values."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

Answer = TypeVar("Answer", bound=BaseModel)

# As OpenAI writes them: `role`, `content` and, around tools, a few more.
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Extraction(Generic[Answer]):
    """Ask `model` for one `response_model`. `timeout_seconds` is for the whole run, re-asks included.

    The messages hold a person's text, so they are in no repr.
    """

    model: str
    response_model: type[Answer]
    messages: tuple[Message, ...] = field(repr=False)
    timeout_seconds: float
    temperature: float
    max_tokens: int
    max_reasks: int


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the price list says of a model. Prices are USD a token; None is unknown, never 0."""

    provider: str
    is_provider_known: bool = True
    is_listed: bool = False
    takes_json_schema: bool = False
    takes_tools: bool = False
    takes_temperature: bool = True
    input_price_usd: Decimal | None = None
    output_price_usd: Decimal | None = None
    missing_keys: tuple[str, ...] = ()


def provider_of(model: str) -> str:
    """The provider's name in `provider/model`; a bare name is OpenAI's, as in OpenAI's own API."""
    provider, slash, _ = model.partition("/")
    return provider if slash else "openai"
