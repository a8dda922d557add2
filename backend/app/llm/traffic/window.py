"""A sliding minute: how much of a limit is used up at any moment. Pure; the time is handed in.

Invariant: what its entries count in any sixty seconds never exceeds the limit, nor, where several processes share the
limit, what this one holds of it; so what each of them keeps to adds up to the limit at most. An entry counts from the
moment it is taken until a minute after its request left, and a margin for the way, because the provider counts
arrivals: sixty requests held up for a second and sixty prompt ones would else meet in one of its minutes.
"""

import heapq
from dataclasses import dataclass, field

_MARGIN_SECONDS = 0.25


@dataclass(slots=True, eq=False)
class Entry:
    """An amount on the window. `counts_until` is None until its request has left."""

    amount: int
    counts_until: float | None = None
    is_over: bool = False


@dataclass(slots=True)
class SlidingMinute:
    """The window of one limit; None is no limit. A minute has 60 seconds but in tests.

    `share` is what this process holds of the limit, None all of it. While it `is_tight` others wait for what ends here:
    it leaves the share with its entry.
    """

    limit: int | None
    seconds: float = 60.0
    share: int | None = None
    is_tight: bool = False
    _used: int = 0
    _leaving: list[tuple[float, int, Entry]] = field(default_factory=list)
    _count: int = 0

    def fits(self, amount: int, now: float) -> bool:
        """An amount over the whole limit fits when nothing else is there: then it is the provider's to judge."""
        self._expire(now)
        if self.limit is None:
            return True
        if amount > self.limit:
            return self._used == 0 and self._held == self.limit
        return self._used + amount <= self._held

    def lacks_share(self, amount: int, now: float) -> bool:
        """Whether it would fit, or fit sooner, if this process held more of the limit."""
        return self.limit is not None and self._held < self.limit and not self.fits(amount, now)

    def used(self, now: float) -> int:
        self._expire(now)
        return self._used

    def take(self, amount: int) -> Entry:
        self._used += amount
        return Entry(amount)

    def left(self, entry: Entry, now: float) -> None:
        """The entry's request is on its way; only the first time counts."""
        if entry.counts_until is None and not entry.is_over:
            entry.counts_until = now + self.seconds + _MARGIN_SECONDS
            self._count += 1
            heapq.heappush(self._leaving, (entry.counts_until, self._count, entry))

    def correct(self, entry: Entry, amount: int) -> None:
        """It was more or less than was thought when it was taken."""
        if not entry.is_over:
            self._use_less(entry.amount - amount)
            entry.amount = amount

    def give_back(self, entry: Entry) -> None:
        """No request left."""
        if entry.counts_until is None and not entry.is_over:
            self._end(entry)

    def seconds_until_change(self, now: float) -> float | None:
        """When the next entry stops counting; None when that is not known yet."""
        self._expire(now)
        return self._leaving[0][0] - now if self._leaving else None

    def _expire(self, now: float) -> None:
        while self._leaving and self._leaving[0][0] <= now:
            self._end(heapq.heappop(self._leaving)[2])

    @property
    def _held(self) -> int:
        limit = self.limit or 0
        return limit if self.share is None else min(self.share, limit)

    def _end(self, entry: Entry) -> None:
        entry.is_over = True
        self._use_less(entry.amount)

    def _use_less(self, amount: int) -> None:
        self._used -= amount
        if self.is_tight and self.share is not None and amount > 0:
            self.share = max(self._used, self.share - amount)
