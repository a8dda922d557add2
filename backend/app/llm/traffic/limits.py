"""The queue before each provider: calls wait for its requests and tokens a minute and for its places, and do not fail.

Who came first goes first. Invariant: the requests that leave this process stay within the provider's limits in any
sliding minute; of several processes each counts its own. A queue is bounded: what comes to a full one is refused with
the time after which it may come again.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

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
    granted: asyncio.Future[Ticket]


class Turnstile:
    """One provider's queue, for one loop. `clock` tells seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float], *, minute_seconds: float = 60.0) -> None:
        self._clock = clock
        self._requests = SlidingMinute(limits.requests_per_minute, minute_seconds)
        self._tokens = SlidingMinute(limits.tokens_per_minute, minute_seconds)
        self._places = limits.max_concurrency
        self._inside = 0
        self._waiting: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

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
            return self._admit(tokens)
        if len(self._waiting) >= _LONGEST_QUEUE:
            raise LLMRateLimited(retry_after_seconds=self.seconds_until_room())
        waiter = _Waiter(tokens, asyncio.get_running_loop().create_future())
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
        is_free = self._places is None or self._inside < self._places
        return is_free and self._requests.fits(1, now) and self._tokens.fits(tokens, now)

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

    def _leave_queue(self, waiter: _Waiter) -> None:
        """Whoever had been let in when the cancellation came gives the place back."""
        if waiter.granted.done() and not waiter.granted.cancelled():
            waiter.granted.result().end()
        elif waiter in self._waiting:
            self._waiting.remove(waiter)
            self._advance()


class Turnstiles:
    """The queues of all providers of a process."""

    def __init__(self, clock: Callable[[], float], *, minute_seconds: float = 60.0) -> None:
        self._clock, self._minute_seconds = clock, minute_seconds
        self._limits: dict[str, Limits] = {}
        self._turnstiles: dict[str, Turnstile] = {}

    def of(self, provider: str, limits: Limits) -> Turnstile:
        """The provider's queue, with the limits as they are now."""
        turnstile = self._turnstiles.get(provider)
        if turnstile is None:
            turnstile = self._turnstiles[provider] = Turnstile(limits, self._clock, minute_seconds=self._minute_seconds)
        elif self._limits[provider] != limits:
            turnstile.set_limits(limits)
        self._limits[provider] = limits
        return turnstile

    def load_of(self, provider: str) -> tuple[int | None, int | None]:
        """Who waits and who is under way; None where nobody counts, because the provider has no limits."""
        turnstile = self._turnstiles.get(provider)
        return (turnstile.waiting, turnstile.inside) if turnstile else (None, None)
