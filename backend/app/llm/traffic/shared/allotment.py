"""How much of a limit a process may hold, beside others on the same limit. Pure.

Invariant: the shares of all processes never add up to more than the limit, but for what one of them has used beyond
its share. What is free goes to those who have waited longest, in whichever process, and only what nobody waits for is
held in reserve, so that most calls need not ask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# Part of a limit that a process takes beyond its need. What it dies with is lost to the others for a while.
_RESERVED_PART = 5
_MOST_SLICES = 20


@dataclass(frozen=True, slots=True)
class Stake:
    """A process's part in a limit: what it holds, uses, waits for, and of that its first waiter.

    The first one has waited for `waited_seconds`, the last for `least_waited_seconds`; each has a `name` of its own.
    """

    share: int
    used: int
    waiting: int = 0
    head: int = 0
    waited_seconds: float = 0.0
    least_waited_seconds: float = 0.0
    name: str = ""


def allot(limit: int, mine: Stake, others: Sequence[Stake]) -> int:
    """What the process of `mine` holds from now on; what `mine` held until now does not count."""
    stakes = [mine, *others]
    room = max(0, limit - sum(stake.used for stake in stakes))
    part, room = _part(room, mine, [stake for stake in stakes if stake.waiting])
    wanted = mine.used + part + min(room, limit // _RESERVED_PART)
    free = limit - sum(max(stake.share, stake.used) for stake in others)
    return max(mine.used, min(wanted, free))


def _part(room: int, mine: Stake, waiting: Sequence[Stake]) -> tuple[int, int]:
    """What `mine` gets, and what nobody does: first the first of each are served, or a large one never would be."""
    firsts = [_Slice(_rank(stake.waited_seconds), 0, stake.name, stake.head) for stake in waiting]
    part = 0
    for piece in [*sorted(firsts), *sorted(piece for stake in waiting for piece in _slices(stake))]:
        given = min(piece.amount, room)
        room -= given
        part += given if piece.name == mine.name else 0
    return part, room


class _Slice(NamedTuple):
    """A part of a queue; what sorts first is served first."""

    rank: float
    place: int
    name: str
    amount: int


def _slices(stake: Stake) -> Iterator[_Slice]:
    """Those behind the first one, as if they had come evenly between the first and the last."""
    amount = stake.waiting - stake.head
    number = min(amount, _MOST_SLICES)
    for place in range(1, number + 1):
        waited = stake.waited_seconds - (stake.waited_seconds - stake.least_waited_seconds) * place / number
        size = amount * place // number - amount * (place - 1) // number
        yield _Slice(_rank(waited), place, stake.name, size)


def _rank(waited_seconds: float) -> float:
    """Those who came together take turns, though each process reads the clock a little later."""
    return -round(waited_seconds, 1)
