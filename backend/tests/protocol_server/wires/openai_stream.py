"""OpenAI's stream: the chunks of one completion as server-sent events.

Invariant: joined, the chunks are the message of `openai.completion` for the same plan, and the usage of the
last one, sent where `stream_options.include_usage` asks for it, is what the log bills.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from tests.protocol_server.faults.errors import UPSTREAM_ERRORS
from tests.protocol_server.faults.plan import Plan
from tests.protocol_server.streams import Dress, Event, Part, Steps, chunks_of
from tests.protocol_server.wires import openai
from tests.protocol_server.wires.wire import StreamAnswer

Delta = dict[str, Any]

_DONE = b"data: [DONE]\n\n"
_PING = b": PROCESSING\n\n"


def stream(plan: Plan, answer_id: str) -> StreamAnswer:
    message, completion_tokens = openai.message_of(plan, answer_id)
    chunk = _Chunk(plan, answer_id)
    events = _events(plan, chunk, message, completion_tokens)
    return StreamAnswer(events, _dress(plan, chunk), completion_tokens)


class _Chunk:
    """Makes the events of one stream."""

    def __init__(self, plan: Plan, answer_id: str) -> None:
        self.has_usage = plan.ask.stream_usage and plan.has_usage
        self._frame = {
            "id": answer_id,
            "object": "chat.completion.chunk",
            "created": openai.CREATED,
            "model": plan.ask.model,
            "system_fingerprint": openai.FINGERPRINT,
        }

    def of(self, delta: Delta, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._event({"choices": [choice], **({"usage": None} if self.has_usage else {})})

    def of_usage(self, usage: dict[str, Any]) -> bytes:
        return self._event({"choices": [], "usage": usage})

    def _event(self, rest: dict[str, Any]) -> bytes:
        return b"data: " + orjson.dumps({**self._frame, **rest}) + b"\n\n"


def _events(plan: Plan, chunk: _Chunk, message: dict[str, Any], completion_tokens: int) -> Steps:
    calls = message.get("tool_calls")
    content = None if calls or message["content"] is None else ""
    yield Event(chunk.of({"role": "assistant", "content": content, "refusal": None}), Part.OPENING)
    for part, delta in _deltas(message):
        yield Event(chunk.of(delta), part)
    yield Event(chunk.of({}, openai.finish_reason_of(plan, message)), Part.CLOSING)
    if chunk.has_usage:
        yield Event(chunk.of_usage(openai.usage_of(plan, completion_tokens)), Part.USAGE)
    yield Event(_DONE, Part.DONE)


def _deltas(message: dict[str, Any]) -> Iterator[tuple[Part, Delta]]:
    for name in ("refusal", "content"):
        for piece in chunks_of(message[name] or ""):
            yield Part.TEXT, {name: piece}
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        opening = {**call, "index": index, "function": {"name": function["name"], "arguments": ""}}
        yield Part.OPENING, {"tool_calls": [opening]}
        for piece in chunks_of(function["arguments"]):
            yield Part.TEXT, {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _dress(plan: Plan, chunk: _Chunk) -> Dress:
    whole = chunk.of({"content": "malformed"})
    overloaded = UPSTREAM_ERRORS["503"][0]
    return Dress(
        malformed=whole[: len(whole) // 2] + b"\n\n",
        error=b"data: " + openai.error_body(overloaded.message, overloaded.kind, overloaded.code) + b"\n\n",
        ping=_PING,
        filler=chunk.of(_filler(plan)),
    )


def _filler(plan: Plan) -> Delta:
    if plan.ask.mode == "tools" and not plan.is_spoken:
        return {"tool_calls": [{"index": 0, "function": {"arguments": " "}}]}
    return {"content": "more "}
