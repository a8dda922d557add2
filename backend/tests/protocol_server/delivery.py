"""How the bytes of an answer travel, one function for each `Delivery`.

Invariant: `settle` (the end of the call in the log) has run before the last byte can reach the client, so a
test that holds the answer finds the finished call. Where the client leaves first, PeerGoneError rises and
`settle` has not run.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

from tests.protocol_server.faults.plan import Delivery, Plan
from tests.protocol_server.peer import Peer

_PIECES = 20
_RESET_DELAY_SECONDS = 0.02

Settle = Callable[[], None]


@dataclass(slots=True, frozen=True)
class Reply:
    """Status line and headers, and the body; the delivery decides how much of it leaves, and when."""

    head: bytes
    body: bytes


async def deliver(peer: Peer, plan: Plan, reply: Reply, settle: Settle) -> None:
    """Raises PeerGoneError when the client leaves before the last byte."""
    peer.check()
    await _WAYS[plan.delivery](peer, plan.delivery_seconds, reply, settle)


async def _whole(peer: Peer, _seconds: float, reply: Reply, settle: Settle) -> None:
    await peer.send(reply.head + reply.body, settle)


async def _slow_headers(peer: Peer, seconds: float, reply: Reply, settle: Settle) -> None:
    *pieces, last = _pieces(reply.head)
    await _dribble(peer, pieces, seconds)
    await peer.send(last + reply.body, settle)


async def _slow_body(peer: Peer, seconds: float, reply: Reply, settle: Settle) -> None:
    *pieces, last = _pieces(reply.body)
    peer.write(reply.head)
    await _dribble(peer, pieces, seconds)
    await peer.send(last, settle)


async def _reset(peer: Peer, _seconds: float, _reply: Reply, settle: Settle) -> None:
    settle()
    peer.reset()


async def _reset_body(peer: Peer, _seconds: float, reply: Reply, settle: Settle) -> None:
    peer.write(reply.head + reply.body[: len(reply.body) // 2])
    # The reset throws away what the kernel has not delivered: give the first half its time.
    await peer.pause(_RESET_DELAY_SECONDS)
    settle()
    peer.reset()


async def _hang_headers(peer: Peer, _seconds: float, _reply: Reply, _settle: Settle) -> NoReturn:
    await peer.hang()
    raise AssertionError("a hang ends with the client")


async def _hang_body(peer: Peer, _seconds: float, reply: Reply, _settle: Settle) -> NoReturn:
    peer.write(reply.head + reply.body[: len(reply.body) // 2])
    await peer.hang()
    raise AssertionError("a hang ends with the client")


_WAYS: dict[Delivery, Callable[[Peer, float, Reply, Settle], Awaitable[None]]] = {
    Delivery.WHOLE: _whole,
    Delivery.SLOW_HEADERS: _slow_headers,
    Delivery.SLOW_BODY: _slow_body,
    Delivery.RESET: _reset,
    Delivery.RESET_BODY: _reset_body,
    Delivery.HANG_HEADERS: _hang_headers,
    Delivery.HANG_BODY: _hang_body,
}


def _pieces(data: bytes) -> list[bytes]:
    size = max(1, -(-len(data) // _PIECES))
    return [data[start : start + size] for start in range(0, len(data), size)] or [b""]


async def _dribble(peer: Peer, pieces: list[bytes], seconds: float) -> None:
    """Each piece, then its share of the time."""
    for piece in pieces:
        peer.write(piece)
        await peer.pause(seconds / len(pieces))
