"""What we take from a vendor's answer: its text, its tool calls, how it ended and what it counted."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.llm.attempts import Usage
from app.llm.call import Delta, ToolCall, ToolCallDelta
from app.llm.extraction import ModelFacts

_MORE_THAN_ANY_MODEL = 2**31


@dataclass(frozen=True, slots=True)
class VendorAnswer:
    """A whole answer in free form. `finish_reason` in OpenAI's words, into which litellm puts those of others."""

    content: str = field(repr=False)
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    usage: Usage


@dataclass(slots=True)
class Assembly:
    """The pieces of a stream put together. `finish_reason` None at its end: it was cut off."""

    pieces: list[str] = field(default_factory=list)
    calls: dict[int, list[str]] = field(default_factory=dict)
    finish_reason: str | None = None
    usage: Usage | None = None
    size: int = 0
    has_refusal: bool = False

    @property
    def is_refused(self) -> bool:
        return self.has_refusal or self.finish_reason == "content_filter"

    def add(self, chunk: Any, facts: ModelFacts) -> Delta | None:  # noqa: ANN401 - a chunk of the vendor's stream
        """What there is to pass on of this chunk; None when it only says how it ends and what it counted."""
        if getattr(chunk, "usage", None) is not None:
            self.usage = usage_of(chunk, facts)
        choices = getattr(chunk, "choices", None)
        if not choices:
            return None
        choice = choices[0]
        self.finish_reason = getattr(choice, "finish_reason", None) or self.finish_reason
        delta = getattr(choice, "delta", None)
        content = getattr(delta, "content", None) or ""
        self.has_refusal |= bool(getattr(delta, "refusal", None))
        calls = tuple(self._piece(call) for call in getattr(delta, "tool_calls", None) or ())
        self.pieces.append(content)
        self.size += len(content) + sum(len(call.arguments) for call in calls)
        return Delta(content, calls) if content or calls else None

    def whole(self, facts: ModelFacts) -> VendorAnswer:
        calls = tuple(ToolCall(call[0], call[1], "".join(call[2:])) for _, call in sorted(self.calls.items()))
        usage = self.usage or usage_at(facts, None, None)
        return VendorAnswer("".join(self.pieces), calls, self.finish_reason or "stop", usage)

    def _piece(self, call: Any) -> ToolCallDelta:  # noqa: ANN401 - of OpenAI's SDK or of litellm
        function = getattr(call, "function", None)
        name, arguments = getattr(function, "name", None), getattr(function, "arguments", None) or ""
        known = self.calls.setdefault(call.index, [call.id or "", name or ""])
        known.append(arguments)
        return ToolCallDelta(call.index, call.id, name, arguments)


def answer_of(response: Any, facts: ModelFacts) -> VendorAnswer | None:  # noqa: ANN401 - litellm's ModelResponse
    """None when there is nothing in it."""
    if not response.choices:
        return None
    choice = response.choices[0]
    calls = tuple(_calls(choice.message.tool_calls or ()))
    content = choice.message.content or ""
    if not content and not calls:
        return None
    return VendorAnswer(content, calls, choice.finish_reason or "stop", usage_of(response, facts))


def _calls(found: Iterable[Any]) -> Iterable[ToolCall]:
    return (ToolCall(call.id, call.function.name or "", call.function.arguments or "") for call in found)


def is_refused(response: Any) -> bool:  # noqa: ANN401 - litellm's ModelResponse
    if not response.choices:
        return False
    choice = response.choices[0]
    said = getattr(choice.message, "provider_specific_fields", None) or {}
    return choice.finish_reason == "content_filter" or bool(said.get("refusal"))


def usage_of(response: Any, facts: ModelFacts) -> Usage:  # noqa: ANN401 - litellm's ModelResponse, or a chunk
    """Of this answer alone: read before instructor writes the sum of all tries into it."""
    usage = getattr(response, "usage", None)
    asked, answered = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    if not asked and not answered:
        asked = answered = None  # litellm writes 0 where the provider counted nothing
    cached = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None)
    return usage_at(facts, asked, answered, cached)


def usage_at(facts: ModelFacts, input_tokens: object, output_tokens: object, cached_tokens: object = None) -> Usage:
    return Usage(
        _count(input_tokens),
        _count(output_tokens),
        facts.input_price_usd,
        facts.output_price_usd,
        cached_tokens=_count(cached_tokens),
        cached_price_usd=facts.cached_price_usd,
    )


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
