"""What we take from a vendor's answer besides its content."""

from typing import Any

import orjson

from app.llm.attempts import Usage
from app.llm.extraction import ModelFacts

_MORE_THAN_ANY_MODEL = 2**31


def is_refused(response: Any) -> bool:  # noqa: ANN401 - litellm's ModelResponse
    if not response.choices:
        return False
    choice = response.choices[0]
    said = getattr(choice.message, "provider_specific_fields", None) or {}
    return choice.finish_reason == "content_filter" or bool(said.get("refusal"))


def usage_of(response: Any, facts: ModelFacts) -> Usage:  # noqa: ANN401 - litellm's ModelResponse
    """Of this answer alone: read before instructor writes the sum of all tries into it."""
    usage = getattr(response, "usage", None)
    asked, answered = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    if not asked and not answered:
        asked = answered = None  # litellm writes 0 where the provider counted nothing
    return usage_at(facts, asked, answered)


def usage_at(facts: ModelFacts, input_tokens: object, output_tokens: object) -> Usage:
    return Usage(_count(input_tokens), _count(output_tokens), facts.input_price_usd, facts.output_price_usd)


def _count(tokens: object) -> int | None:
    """A number that can be one; what a vendor makes up besides is unknown, and must not break the books."""
    if not isinstance(tokens, int) or isinstance(tokens, bool):
        return None
    return tokens if 0 <= tokens < _MORE_THAN_ANY_MODEL else None


def json_of(response: Any) -> object:  # noqa: ANN401 - httpx.Response
    """The body of an answer; None when it is no JSON, or when nobody read it."""
    try:
        body: object = orjson.loads(response.content)
    except (ValueError, RuntimeError):
        return None
    return body
