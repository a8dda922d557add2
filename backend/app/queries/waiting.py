"""Requests that wait for the end of a query, which any process may bring about.

News name the rows that ended; news of unknown extent, and a slow poll under everything, lead to one look for all that
are waited for in this process, never to one each.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.announcements import News
from app.database import Database
from app.errors import ServiceUnavailable
from app.queries.query_model import Query, QueryStatus

log = structlog.get_logger()
_POLL_SECONDS = 5.0
# Far more than end between the commit of a query and its request's waiting for it.
_MOST_REMEMBERED = 5_000


class Endings:
    """Of a process, on its loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, list[asyncio.Event]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._look_again = False
        self._ended: dict[str, None] = {}
        database.noticeboard.subscribe(self._hear)

    async def wait(self, query_id: str, seconds: float, *, is_new: bool = False) -> None:
        """Until the query may have ended, the time is over or the process stops. The row says which.

        `is_new`: it was made a moment ago, so the news of its end have been heard here if they were told.
        """
        if seconds <= 0 or self._database.noticeboard.closed or query_id in self._ended:
            return
        ended = asyncio.Event()
        self._waiting.setdefault(query_id, []).append(ended)
        try:
            async with asyncio.timeout(seconds):
                await self._wait(ended, looks_first=not is_new)
        except TimeoutError:
            return
        finally:
            self._forget(query_id, ended)

    async def _wait(self, ended: asyncio.Event, *, looks_first: bool) -> None:
        if looks_first:
            self._look()
        while not ended.is_set():
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await ended.wait()
            except TimeoutError:
                self._look()

    def _forget(self, query_id: str, ended: asyncio.Event) -> None:
        others = [event for event in self._waiting.get(query_id, ()) if event is not ended]
        if others:
            self._waiting[query_id] = others
        else:
            self._waiting.pop(query_id, None)

    def _hear(self, news: News) -> None:
        if self._database.noticeboard.closed:
            self._tell(list(self._waiting))
        elif news.anything:
            self._look()
        else:
            self._ended.update(dict.fromkeys(news.ended))
            while len(self._ended) > _MOST_REMEMBERED:
                del self._ended[next(iter(self._ended))]
            self._tell(news.ended & self._waiting.keys())

    def _tell(self, ids: Sequence[str] | set[str]) -> None:
        for query_id in ids:
            for event in self._waiting.get(query_id, ()):
                event.set()

    def _look(self) -> None:
        """One at a time; what is asked for meanwhile is one more after it."""
        if self._looking is not None and not self._looking.done():
            self._look_again = True
        elif self._waiting:
            self._looking = asyncio.get_running_loop().create_task(self._look_for_all())

    async def _look_for_all(self) -> None:
        self._look_again = True
        while self._look_again and self._waiting:
            self._look_again = False
            ids = list(self._waiting)
            try:
                running = await self._database.read(partial(_running, ids=ids))
            except ServiceUnavailable as error:
                log.warning("queries.cannot_look", exc_info=error)
                return
            self._tell(set(ids) - running)


def _running(session: Session, ids: Sequence[str]) -> set[str]:
    return set(session.scalars(select(Query.id).where(Query.id.in_(ids), Query.status == QueryStatus.RUNNING)))
