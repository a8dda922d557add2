"""The most that a call may cost, reserved before it leaves. Pure."""

from decimal import Decimal
from functools import cache

from pydantic import BaseModel

from app.context.estimate import estimate
from app.llm.routing import Candidate

_FREE = Decimal(0)


def most_usd(candidate: Candidate, *, input_tokens: int, output_tokens: int) -> Decimal | None:
    """In USD, or None while a price is unknown; nothing on a machine of one's own."""
    facts = candidate.facts
    if facts.input_price_usd is None or facts.output_price_usd is None:
        return _FREE if candidate.provider.is_local else None
    return input_tokens * facts.input_price_usd + output_tokens * facts.output_price_usd


@cache
def tokens_of_form(form: type[BaseModel]) -> int:
    """What a schema is that is sent along with the messages."""
    return tokens_beside(form.model_json_schema())


def tokens_beside(*parts: object) -> int:
    """Tools and schemas are read, and billed, as the messages are."""
    return sum(estimate(str(part)) for part in parts if part)
