"""The most that a call may cost, reserved before it leaves. Pure."""

from decimal import Decimal
from functools import lru_cache

import orjson

from app.context.estimate import estimate
from app.llm.routing import Candidate

_FREE = Decimal(0)
_FORM_TOKENS = 150  # the sentences around a form


def most_usd(candidate: Candidate, *, input_tokens: int, output_tokens: int) -> Decimal | None:
    """In USD, or None while a price is unknown; nothing on a machine of one's own."""
    facts = candidate.facts
    if facts.input_price_usd is None or facts.output_price_usd is None:
        return _FREE if candidate.provider.is_local else None
    return input_tokens * facts.input_price_usd + output_tokens * facts.output_price_usd


@lru_cache(maxsize=256)
def tokens_of_shape(schema: str) -> int:
    """A form, as it is written into the prompt for a model that takes schemas no other way."""
    return estimate(orjson.dumps(orjson.loads(schema), option=orjson.OPT_INDENT_2).decode()) + _FORM_TOKENS


def tokens_beside(*parts: object) -> int:
    """Tools and schemas are read, and billed, as the messages are."""
    return sum(estimate(str(part)) for part in parts if part)
