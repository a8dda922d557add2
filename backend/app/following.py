"""Does something after each change of a topic: by news of it, and by a slow poll for what no news told.

Most keep in memory what the database holds. At once in the process that changed it, within seconds in the others.
Invariant: no fault of one time ends it, or the process would go on with what it knew then, for ever and without a word.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from app import clock
from app.announcements import News
from app.database import Database
from app.errors import ServiceUnavailable

log = structlog.get_logger()
# On SQLite every commit beside us may be the change: under load one look in this time, not one a commit.
_SHORTEST_GAP_SECONDS = 2.0
_POLL_SECONDS = 60.0


@asynccontextmanager
async def followed(
    database: Database,
    topic: str,
    refresh: Callable[[], Awaitable[object]],
    *,
    gap_seconds: float | None = None,
    poll_seconds: float | None = None,
    waits: bool = True,
) -> AsyncIterator[None]:
    """In the block, `refresh` is called after each change of `topic`, a name in `News.configured`; and once before.

    At most once in `gap_seconds`. Where the block `waits` not, it begins beside the first time. A database that is
    away is no reason not to begin.
    """
    news = asyncio.Event()

    def hear(told: News) -> None:
        if told.anything or topic in told.configured:
            news.set()

    unsubscribe = database.noticeboard.subscribe(hear)
    if not waits or not await _refresh_if_possible(topic, refresh):
        news.set()
    gap = _SHORTEST_GAP_SECONDS if gap_seconds is None else gap_seconds
    poll = _POLL_SECONDS if poll_seconds is None else poll_seconds
    task = asyncio.create_task(_follow(topic, refresh, news, gap=gap, poll=poll))
    try:
        yield
    finally:
        unsubscribe()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _follow(
    topic: str, refresh: Callable[[], Awaitable[object]], news: asyncio.Event, *, gap: float, poll: float
) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(poll):
                await news.wait()
        news.clear()
        if not await _refresh_if_possible(topic, refresh):
            news.set()
        await clock.sleep(gap)


async def _refresh_if_possible(topic: str, refresh: Callable[[], Awaitable[object]]) -> bool:
    try:
        await refresh()
    except ServiceUnavailable as error:
        log.warning("following.failed", topic=topic, exc_info=error)
        return False
    except Exception:  # whatever it is, the news after it must be heard
        log.exception("following.failed", topic=topic)
        return False
    return True
