"""Limits how many calls are in their start at the same time.

Starting a call is nearly all of what it costs in CPU: a hundred released together hold the loop for a second
and delay the answers and cancellations of all others; sixteen do not.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

# A permit comes back after this time at the latest: some vendors' code never tells us that the request has
# left.
_LONGEST_START_SECONDS = 0.25


class _Permit:
    """One place, given back once, however often it is released. `on_sent` is told when the request is on its way."""

    def __init__(self, places: asyncio.Semaphore, on_sent: Callable[[], None]) -> None:
        self._places: asyncio.Semaphore | None = places
        self.on_sent = on_sent

    def release(self) -> None:
        if self._places is not None:
            self._places.release()
            self._places = None


_PERMIT: ContextVar[_Permit | None] = ContextVar("start_permit", default=None)


class Starts:
    """To be made and used on one loop."""

    def __init__(self, limit: int) -> None:
        self._places = asyncio.Semaphore(limit)

    @asynccontextmanager
    async def place(self, on_sent: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
        """Hold a place until the request has left, or for the longest start, or until the block ends."""
        await self._places.acquire()
        permit = _Permit(self._places, on_sent)
        token = _PERMIT.set(permit)
        timer = asyncio.get_running_loop().call_later(_LONGEST_START_SECONDS, permit.release)
        try:
            yield
        finally:
            timer.cancel()
            permit.release()
            _PERMIT.reset(token)


async def request_has_left(*_trace: object) -> None:
    """For the HTTP client's trace: the start of the call in this context is over."""
    permit = _PERMIT.get()
    if permit is not None:
        permit.release()


async def headers_are_sent(*_trace: object) -> None:
    """For the HTTP client's trace: from now on the provider may count the request of the call in this context."""
    permit = _PERMIT.get()
    if permit is not None:
        permit.on_sent()
