"""How much of a limit a process may hold, beside others on the same limit. Pure.

Invariant: the shares of all processes never add up to more than the limit, but for what one of them has used beyond
its share. What is free goes to whoever has waited longest, then evenly to those who wait, and only what nobody waits
for is held in reserve, so that most calls need not ask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Part of a limit that a process takes beyond its need. What it dies with is lost to the others for a while.
_RESERVED_PART = 5


@dataclass(frozen=True, slots=True)
class Stake:
    """A process's part in a limit: what it holds, uses, waits for, and of that its first waiter.

    `rank` orders those who wait: the smaller one came first.
    """

    share: int
    used: int
    waiting: int = 0
    head: int = 0
    rank: tuple[Any, ...] = ()


def allot(limit: int, mine: Stake, others: Sequence[Stake]) -> int:
    """What the process of `mine` holds from now on; what `mine` held until now does not count."""
    stakes = [mine, *others]
    room = max(0, limit - sum(stake.used for stake in stakes))
    parts, room = _parts(room, sorted((stake for stake in stakes if stake.waiting), key=lambda stake: stake.rank))
    wanted = mine.used + parts.get(id(mine), 0) + min(room, limit // _RESERVED_PART)
    free = limit - sum(max(stake.share, stake.used) for stake in others)
    return max(mine.used, min(wanted, free))


def _parts(room: int, waiting: Sequence[Stake]) -> tuple[dict[int, int], int]:
    """What each of those who wait gets, by identity, and what is left: first the first waiters, in their order."""
    parts: dict[int, int] = {}
    for stake in waiting:
        parts[id(stake)] = min(stake.head, room)
        room -= parts[id(stake)]
    rest = sorted(waiting, key=lambda stake: stake.waiting - stake.head)
    for place, stake in enumerate(rest):
        more = min(stake.waiting - stake.head, room // (len(rest) - place))
        parts[id(stake)] += more
        room -= more
    return parts, room
