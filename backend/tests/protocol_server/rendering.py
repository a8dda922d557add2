"""From a plan to what travels: the header block, and a body or the steps of a stream.

Invariant: status, answer id and bill stand in the call when this returns, so that the book has them before the
first byte leaves.
"""

from tests.protocol_server.calls import Call
from tests.protocol_server.delivery import Reply
from tests.protocol_server.faults.plan import Delivery, Plan
from tests.protocol_server.peer import head_of
from tests.protocol_server.streams import Event, Part, Steps
from tests.protocol_server.wires.wire import StreamAnswer, Wire

_EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_HEADLESS = frozenset({Delivery.RESET, Delivery.HANG_HEADERS})


def render(plan: Plan, wire: Wire, call: Call) -> Reply:
    """The answer on this wire; enters status, answer id and bill into the call."""
    headers = {
        "content-type": plan.content_type,
        wire.request_id_header: f"req_{call.run}{call.seq:08d}",
        **plan.headers,
    }
    if plan.error is not None:
        status, body = wire.failure(plan)
        return _whole(call, plan, status, headers, plan.body(body) if plan.body is not None else body)
    call.answer_id = f"{wire.id_prefix}{call.run}{call.seq:08d}"
    if plan.is_streamed:
        answer = wire.stream(plan, call.answer_id)
        _bill(call, plan, answer.completion_tokens)
        call.status = _status(plan, 200)
        return Reply(head_of(200, None, {**headers, **_EVENT_STREAM}), b"", _steps(plan, answer))
    body, completion_tokens = wire.completion(plan, call.answer_id)
    _bill(call, plan, completion_tokens)
    if plan.body is not None:
        return _whole(call, plan, 200, headers, plan.body(body))
    return _whole(call, plan, 200, headers, body, is_answer=True)


def _whole(
    call: Call, plan: Plan, status: int, headers: dict[str, str], body: bytes, *, is_answer: bool = False
) -> Reply:
    call.status = _status(plan, status)
    return Reply(head_of(status, len(body), headers), body, is_answer=is_answer)


def _steps(plan: Plan, answer: StreamAnswer) -> Steps:
    steps = answer.steps
    for edit in plan.stream_edits:
        steps = edit(steps, answer.dress)
    if plan.body is not None:
        whole = b"".join(step.data for step in steps if isinstance(step, Event))
        return iter([Event(plan.body(whole), Part.NOISE)])
    return steps


def _bill(call: Call, plan: Plan, completion_tokens: int) -> None:
    if plan.is_generated:
        call.billed_input_tokens, call.billed_output_tokens = plan.ask.prompt_tokens, completion_tokens


def _status(plan: Plan, status: int) -> int:
    return 0 if plan.delivery in _HEADLESS else status
