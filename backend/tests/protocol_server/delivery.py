"""How the bytes of an answer travel, one function for each `Delivery`; and the steps of a stream.

Invariant: the end of the call is in the book before the last byte can reach the client, which in a stream is the
end marker, so a test that holds the answer finds the finished call. Where the client leaves first,
PeerGoneError rises and the call is still open.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.protocol_server.calls import Call, CallBook
from tests.protocol_server.faults.plan import Delivery, Plan
from tests.protocol_server.peer import Peer, head_of
from tests.protocol_server.streams import Breach, Event, Part, Pause, Steps, dribble, half
from tests.protocol_server.wires import openai

_PIECES = 20
_RESET_DELAY_SECONDS = 0.02
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(slots=True, frozen=True)
class Reply:
    """Status line and headers, and the body or the steps of a stream; the delivery decides how much of it
    leaves, and when. `is_answer`: the body is a whole generated answer.
    """

    head: bytes
    body: bytes
    steps: Steps | None = None
    is_answer: bool = False


class Way:
    """The way of one answer to its client: what happens on it stands in the book first."""

    def __init__(self, peer: Peer, book: CallBook, call: Call) -> None:
        self.peer = peer
        self.call = call
        self._book = book

    def write(self, data: bytes) -> None:
        self._book.note_first_byte(self.call)
        self.peer.write(data)

    async def finish(self, data: bytes, *, is_answer: bool) -> None:
        """The last of the data that leaves, at the client's pace."""
        self._book.note_first_byte(self.call)
        await self.peer.send(data, lambda: self._end(is_complete=is_answer or self.call.is_complete))

    async def reset(self) -> None:
        # The reset throws away what the kernel has not delivered: give that its time.
        if self.call.first_byte_monotonic is not None:
            await self.peer.pause(_RESET_DELAY_SECONDS)
        self._end(is_complete=False)
        self.peer.reset()

    def _end(self, *, is_complete: bool) -> None:
        self.call.is_complete = is_complete
        self._book.end(self.call, has_hung_up=False)


async def deliver(way: Way, plan: Plan, reply: Reply) -> None:
    """Raises PeerGoneError when the client leaves before the last byte."""
    way.peer.check()
    if reply.steps is None or plan.delivery in {Delivery.RESET, Delivery.HANG_HEADERS}:
        await _WAYS[plan.delivery](way, plan.delivery_seconds, reply)
        return
    if plan.delivery is Delivery.SLOW_HEADERS:
        await _dribble(way, _pieces(reply.head), plan.delivery_seconds)
    else:
        way.write(reply.head)
    await _walk(way, _paced(reply.steps, plan))


async def deliver_listing(peer: Peer, plan: Plan, data: bytes) -> None:
    """A listing, or the fault that stands in its way; it is no call, so the book does not hear of it."""
    await peer.pause(plan.wait_seconds)
    if plan.delivery in {Delivery.HANG_HEADERS, Delivery.HANG_BODY}:
        await peer.hang()
    if plan.delivery in {Delivery.RESET, Delivery.RESET_BODY}:
        peer.reset()
    elif plan.error is not None:
        status, body = openai.failure(plan)
        peer.write(head_of(status, len(body), {"content-type": "application/json", **plan.headers}) + body)
    elif plan.body is not None:
        body = plan.body(b"{}")
        peer.write(head_of(200, len(body), {"content-type": plan.content_type}) + body)
    else:
        peer.write(data)


async def _whole(way: Way, _seconds: float, reply: Reply) -> None:
    await way.finish(reply.head + reply.body, is_answer=reply.is_answer)


async def _slow_headers(way: Way, seconds: float, reply: Reply) -> None:
    *pieces, last = _pieces(reply.head)
    await _dribble(way, pieces, seconds)
    await way.finish(last + reply.body, is_answer=reply.is_answer)


async def _slow_body(way: Way, seconds: float, reply: Reply) -> None:
    *pieces, last = _pieces(reply.body)
    way.write(reply.head)
    await _dribble(way, pieces, seconds)
    await way.finish(last, is_answer=reply.is_answer)


async def _reset(way: Way, _seconds: float, _reply: Reply) -> None:
    await way.reset()


async def _reset_body(way: Way, _seconds: float, reply: Reply) -> None:
    way.write(reply.head + reply.body[: len(reply.body) // 2])
    await way.reset()


async def _hang_headers(way: Way, _seconds: float, _reply: Reply) -> None:
    await way.peer.hang()


async def _hang_body(way: Way, _seconds: float, reply: Reply) -> None:
    way.write(reply.head + reply.body[: len(reply.body) // 2])
    await way.peer.hang()


_WAYS: dict[Delivery, Callable[[Way, float, Reply], Awaitable[None]]] = {
    Delivery.WHOLE: _whole,
    Delivery.SLOW_HEADERS: _slow_headers,
    Delivery.SLOW_BODY: _slow_body,
    Delivery.RESET: _reset,
    Delivery.RESET_BODY: _reset_body,
    Delivery.HANG_HEADERS: _hang_headers,
    Delivery.HANG_BODY: _hang_body,
}


def _paced(steps: Steps, plan: Plan) -> Steps:
    """What the ways of a body mean for a stream."""
    match plan.delivery:
        case Delivery.SLOW_BODY:
            return dribble(steps, plan.delivery_seconds)
        case Delivery.RESET_BODY:
            return iter([*half(steps), Breach.RESET])
        case Delivery.HANG_BODY:
            return iter([*half(steps), Breach.SILENCE])
    return steps


async def _walk(way: Way, steps: Steps) -> None:
    """Every step in turn, to the end marker, a breach, or a clean end without either."""
    for step in steps:
        match step:
            case Pause(seconds):
                await way.peer.pause(seconds)
            case Breach.RESET:
                await way.reset()
                return
            case Breach.SILENCE:
                await way.peer.hang()
            case Event(data, Part.DONE):
                await way.finish(_framed(data) + _LAST_CHUNK, is_answer=False)
                return
            case Event():
                _enter(way.call, step)
                way.write(_framed(step.data))
                await way.peer.drain()
    await way.finish(_LAST_CHUNK, is_answer=False)


def _enter(call: Call, event: Event) -> None:
    call.chunks_sent += event.part is Part.TEXT
    call.billed_output_tokens += event.unbilled_tokens
    call.is_complete = call.is_complete or event.part is Part.CLOSING


def _framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _pieces(data: bytes) -> list[bytes]:
    size = max(1, -(-len(data) // _PIECES))
    return [data[start : start + size] for start in range(0, len(data), size)] or [b""]


async def _dribble(way: Way, pieces: list[bytes], seconds: float) -> None:
    """Each piece, then its share of the time."""
    for piece in pieces:
        way.write(piece)
        await way.peer.pause(seconds / len(pieces))
