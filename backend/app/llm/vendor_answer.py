"""What we take from a vendor's answer besides its content."""

from typing import Any

import orjson

from app.llm.attempts import Usage
from app.llm.extraction import ModelFacts


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


def usage_at(facts: ModelFacts, input_tokens: int | None, output_tokens: int | None) -> Usage:
    return Usage(input_tokens, output_tokens, facts.input_price_usd, facts.output_price_usd)


def json_of(response: Any) -> object:  # noqa: ANN401 - httpx.Response
    """The body of an answer; None when it is no JSON, or when nobody read it."""
    try:
        body: object = orjson.loads(response.content)
    except (ValueError, RuntimeError):
        return None
    return body
