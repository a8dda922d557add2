"""The queue before each provider: calls wait for its requests and tokens a minute and for its places, and do not fail.

Who came first goes first. Invariant: the requests that leave this process stay within the provider's limits in any
sliding minute, and within its shares of them where several processes share them (`shared/`). A queue is bounded: what
comes to a full one is refused with the time after which it may come again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Protocol

from app.errors import LLMRateLimited
from app.llm.traffic.window import Entry, SlidingMinute

_LONGEST_QUEUE = 1000
_SOON_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one provider; None is unlimited."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrency: int | None = None


class Unit(StrEnum):
    """What is limited in a minute."""

    REQUESTS = "requests"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Demand:
    """What a process uses of a limit and waits for; `head` is what its first waiter needs.

    That one has waited for `waited_seconds`, the last one for `least_waited_seconds`.
    """

    limit: int
    used: int
    waiting: int = 0
    head: int = 0
    waited_seconds: float = 0.0
    least_waited_seconds: float = 0.0


class Sharing(Protocol):
    """Whoever shares limits with other processes."""

    def keep(self, provider: str, turnstile: "Turnstile") -> None:
        """Called when a queue is made, and when its limits have changed."""


class Ticket:
    """The leave for one request. `left` when it is on its way, `end` when it is over; both are safe to repeat."""

    def __init__(self, turnstile: "Turnstile", request: Entry, tokens: Entry) -> None:
        self._turnstile, self._request, self._tokens = turnstile, request, tokens
        self._has_left = self._is_over = False

    def left(self) -> None:
        self._has_left = True
        self._turnstile.note_left(self._request, self._tokens)

    def end(self, *, tokens: int | None = None) -> None:
        """`tokens` as the provider counted them; None leaves the estimate."""
        if self._is_over:
            return
        self._is_over = True
        self._turnstile.note_end(self._request, self._tokens, has_left=self._has_left, counted=tokens)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    tokens: int
    since: float
    granted: asyncio.Future[Ticket]


class Turnstile:
    """One provider's queue, for one loop. `clock` tells seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float], *, minute_seconds: float = 60.0) -> None:
        self._clock = clock
        self._requests = SlidingMinute(limits.requests_per_minute, minute_seconds)
        self._tokens = SlidingMinute(limits.tokens_per_minute, minute_seconds)
        self._windows = {Unit.REQUESTS: self._requests, Unit.TOKENS: self._tokens}
        self._places = limits.max_concurrency
        self._inside = 0
        self._waiting: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._shares_end_at: float | None = None
        # Told of every change, where somebody shares the limits with other processes.
        self.on_change: Callable[[], None] = lambda: None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def inside(self) -> int:
        return self._inside

    def set_limits(self, limits: Limits) -> None:
        """As the operator has changed them; what counts already goes on counting."""
        self._requests.limit = limits.requests_per_minute
        self._tokens.limit = limits.tokens_per_minute
        self._places = limits.max_concurrency
        self._advance()

    async def enter(self, tokens: int) -> Ticket:
        """Wait for one's turn. Raises LLMRateLimited at once when the queue is full. May be cancelled at any time."""
        if not self._waiting and self._has_room(tokens):
            ticket = self._admit(tokens)
            self.on_change()
            return ticket
        if len(self._waiting) >= _LONGEST_QUEUE:
            raise LLMRateLimited(retry_after_seconds=self.seconds_until_room())
        waiter = _Waiter(tokens, self._clock(), asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._advance()
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            self._leave_queue(waiter)
            raise

    def seconds_until_room(self) -> float:
        """When the first of the queue may go, as far as it is known."""
        now = self._clock()
        changes = (self._requests.seconds_until_change(now), self._tokens.seconds_until_change(now))
        return min((seconds for seconds in changes if seconds is not None), default=_SOON_SECONDS)

    def demands(self) -> Mapping[Unit, Demand]:
        """Of each limit a minute that there is."""
        now, found = self._clock(), {}
        # Who waits for a place as well needs no share yet.
        places = None if self._places is None else max(0, self._places - self._inside)
        able = list(islice(self._waiting, places))
        waited = [now - waiter.since for waiter in (able[0], able[-1])] if able else []
        tokens = [waiter.tokens for waiter in able]
        asked = {Unit.REQUESTS: (len(able), min(1, len(able))), Unit.TOKENS: (sum(tokens), sum(tokens[:1]))}
        for unit, window in self._windows.items():
            if window.limit is not None:
                waiting, head = (min(amount, window.limit) for amount in asked[unit])
                found[unit] = Demand(window.limit, window.used(now), waiting, head, *waited)
        return found

    def shares(self) -> Mapping[Unit, int | None]:
        """What is held now of each limit that there is; None: all of it."""
        return {unit: window.share for unit, window in self._windows.items() if window.limit is not None}

    def freeze(self) -> None:
        """Nobody enters until `hold`: what is used now is all that this process needs."""
        now = self._clock()
        self.hold({unit: window.used(now) for unit, window in self._windows.items()})

    def hold(self, shares: Mapping[Unit, int], *, until: float | None = None, is_tight: bool = False) -> None:
        """So much of the limits is this process's until then; of a unit that is not named, all. None is for good."""
        self._shares_end_at = until
        for unit, window in self._windows.items():
            window.share, window.is_tight = shares.get(unit), is_tight
        self._advance()

    @property
    def lacks_share(self) -> bool:
        """Whether its first waiter could go if this process held more, or held it longer."""
        if not self._waiting or not self._has_place():
            return False
        now, tokens = self._clock(), self._waiting[0].tokens
        return self._is_over(now) or self._requests.lacks_share(1, now) or self._tokens.lacks_share(tokens, now)

    def note_left(self, request: Entry, tokens: Entry) -> None:
        now = self._clock()
        self._requests.left(request, now)
        self._tokens.left(tokens, now)
        self._advance()

    def note_end(self, request: Entry, tokens: Entry, *, has_left: bool, counted: int | None) -> None:
        self._inside -= 1
        if has_left:
            if counted is not None:
                self._tokens.correct(tokens, counted)
        else:
            self._requests.give_back(request)
            self._tokens.give_back(tokens)
        self._advance()

    def _has_room(self, tokens: int) -> bool:
        now = self._clock()
        has_share = self._has_place() and not self._is_over(now)
        return has_share and self._requests.fits(1, now) and self._tokens.fits(tokens, now)

    def _has_place(self) -> bool:
        return self._places is None or self._inside < self._places

    def _is_over(self, now: float) -> bool:
        return self._shares_end_at is not None and self._shares_end_at <= now

    def _admit(self, tokens: int) -> Ticket:
        self._inside += 1
        return Ticket(self, self._requests.take(1), self._tokens.take(tokens))

    def _advance(self) -> None:
        """Let in whoever may go, from the head of the queue only; then see to being called again."""
        while self._waiting and self._has_room(self._waiting[0].tokens):
            waiter = self._waiting.popleft()
            if not waiter.granted.done():
                waiter.granted.set_result(self._admit(waiter.tokens))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.001, self.seconds_until_room()), self._advance)
        self.on_change()

    def _leave_queue(self, waiter: _Waiter) -> None:
        """Whoever had been let in when the cancellation came gives the place back."""
        if waiter.granted.done() and not waiter.granted.cancelled():
            waiter.granted.result().end()
        elif waiter in self._waiting:
            self._waiting.remove(waiter)
            self._advance()


class Turnstiles:
    """The queues of all providers of a process; `sharing` null: its limits are its own."""

    def __init__(
        self, clock: Callable[[], float], *, minute_seconds: float = 60.0, sharing: Sharing | None = None
    ) -> None:
        self._clock, self._minute_seconds, self._sharing = clock, minute_seconds, sharing
        self._limits: dict[str, Limits] = {}
        self._turnstiles: dict[str, Turnstile] = {}

    def of(self, provider: str, limits: Limits) -> Turnstile:
        """The provider's queue, with the limits as they are now."""
        turnstile = self._turnstiles.get(provider)
        if turnstile is None:
            turnstile = self._turnstiles[provider] = Turnstile(limits, self._clock, minute_seconds=self._minute_seconds)
        elif self._limits[provider] != limits:
            turnstile.set_limits(limits)
        if self._sharing is not None and self._limits.get(provider) != limits:
            self._sharing.keep(provider, turnstile)
        self._limits[provider] = limits
        return turnstile

    def load_of(self, provider: str) -> tuple[int | None, int | None]:
        """Who waits and who is under way; None where nobody counts, because the provider has no limits."""
        turnstile = self._turnstiles.get(provider)
        return (turnstile.waiting, turnstile.inside) if turnstile else (None, None)
