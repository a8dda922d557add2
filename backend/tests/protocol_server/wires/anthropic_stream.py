"""Anthropic's stream: the named events of one message.

Invariant: joined, the deltas are the blocks of `anthropic.completion` for the same plan; the usage of
`message_start` and `message_delta` together is what the log bills.
"""

from typing import Any

import orjson

from tests.protocol_server.faults.plan import Plan
from tests.protocol_server.streams import Dress, Event, Part, Steps, chunks_of
from tests.protocol_server.wires import anthropic
from tests.protocol_server.wires.wire import StreamAnswer


def stream(plan: Plan, answer_id: str) -> StreamAnswer:
    blocks, output_tokens = anthropic.blocks_of(plan, answer_id)
    return StreamAnswer(_events(plan, answer_id, blocks, output_tokens), _dress(blocks), output_tokens)


def _events(plan: Plan, answer_id: str, blocks: list[anthropic.Block], output_tokens: int) -> Steps:
    usage = {"usage": anthropic.usage_of(plan, 1)} if plan.has_usage else {}
    message = {**anthropic.frame_of(plan, answer_id), **usage}
    yield Event(_event("message_start", {"message": message}), Part.OPENING)
    yield Event(_event("ping", {}), Part.NOISE)
    for index, block in enumerate(blocks):
        yield from _block_events(index, block)
    delta = {"stop_reason": anthropic.stop_reason_of(plan, blocks), "stop_sequence": None}
    end = {"delta": delta, **({"usage": {"output_tokens": output_tokens}} if plan.has_usage else {})}
    yield Event(_event("message_delta", end), Part.CLOSING)
    yield Event(_event("message_stop", {}), Part.DONE)


def _block_events(index: int, block: anthropic.Block) -> Steps:
    is_text = block["type"] == "text"
    opening = {**block, "text": ""} if is_text else {**block, "input": {}}
    yield Event(_event("content_block_start", {"index": index, "content_block": opening}), Part.OPENING)
    for piece in chunks_of(block["text"] if is_text else block["input"]):
        yield Event(_delta(index, piece, is_text=is_text), Part.TEXT)
    yield Event(_event("content_block_stop", {"index": index}), Part.USAGE)


def _delta(index: int, piece: str, *, is_text: bool) -> bytes:
    delta = {"type": "text_delta", "text": piece} if is_text else {"type": "input_json_delta", "partial_json": piece}
    return _event("content_block_delta", {"index": index, "delta": delta})


def _event(name: str, rest: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: ".encode() + orjson.dumps({"type": name, **rest}) + b"\n\n"


def _dress(blocks: list[anthropic.Block]) -> Dress:
    last = max(len(blocks) - 1, 0)
    is_text = not blocks or blocks[last]["type"] == "text"
    whole = _delta(last, "malformed", is_text=is_text)
    return Dress(
        malformed=whole[: len(whole) - 20] + b"\n\n",
        error=b"event: error\ndata: " + anthropic.error_body("Overloaded", "overloaded_error") + b"\n\n",
        ping=_event("ping", {}),
        filler=_delta(last, "more " if is_text else " ", is_text=is_text),
    )
