"""The plan of one answer, and what a fault is: a named edit of that plan.

Invariant: a fault only edits the plan, it never touches a socket.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import orjson

from tests.protocol_server.answers import Ask
from tests.protocol_server.faults.errors import UpstreamError
from tests.protocol_server.streams import StreamEdit


class Delivery(Enum):
    """How the bytes of an answer travel."""

    WHOLE = "whole"
    SLOW_HEADERS = "slow_headers"
    SLOW_BODY = "slow_body"
    RESET = "reset"
    RESET_BODY = "reset_body"
    HANG_HEADERS = "hang_headers"
    HANG_BODY = "hang_body"


@dataclass(slots=True)
class Plan:
    """The answer to one call while faults edit it.

    The answer is `words`, or else the JSON of `fields`. `rewrite` turns it into the text that is sent;
    `is_spoken` puts that text into the message's content even where a tool call was asked for; `thought`
    stands before it in the content. `cached_tokens` and `cache_write_tokens` are part of the prompt's tokens.
    `body` replaces the finished HTTP body, `stream_edits` change the steps of a stream, one after the other.
    `wait_seconds` passes in silence before the first byte, `delivery_seconds` on the way.
    """

    ask: Ask
    fields: dict[str, object]
    words: str | None = None
    rewrite: Callable[[str], str] | None = None
    is_spoken: bool = False
    thought: str = ""
    refusal: str | None = None
    finish_reason: str = "stop"
    error: UpstreamError | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Callable[[bytes], bytes] | None = None
    content_type: str = "application/json"
    delivery: Delivery = Delivery.WHOLE
    delivery_seconds: float = 0.0
    wait_seconds: float = 0.0
    is_generated: bool = True
    has_usage: bool = True
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    is_streamed: bool = False
    stream_edits: list[StreamEdit] = field(default_factory=list)

    def said(self) -> str:
        """The text of the answer, as every fault has left it."""
        text = self.words if self.words is not None else orjson.dumps(self.fields).decode()
        return self.rewrite(text) if self.rewrite is not None else text


@dataclass(slots=True, frozen=True)
class Fault:
    """`default` is the parameter when none is written; None means that the fault takes none."""

    name: str
    summary: str
    default: float | None
    apply: Callable[[Plan, float], None]


FaultTable = dict[str, Fault]
Apply = Callable[[Plan, float], None]


def entry(table: FaultTable, name: str, default: float | None = None) -> Callable[[Apply], Apply]:
    """Enter the function into the table; its docstring is the summary."""

    def enter(apply: Apply) -> Apply:
        table[name] = Fault(name, (apply.__doc__ or "").strip(), default, apply)
        return apply

    return enter
