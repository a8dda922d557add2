"""The budgets as this process knows them, for plans: which calls must be able to say what they may cost.

A hint, up to seconds old. What may be spent is decided where it is reserved, in the ledger's own transactions.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.announcements import News
from app.database import Database
from app.errors import ServiceUnavailable
from app.spending.budget import Budget, covers
from app.spending.budget_model import LLMBudget
from app.spending.counters import budget_of
from app.spending.service import BUDGETS

log = structlog.get_logger()
# On SQLite every commit beside us may be the change: one look in this time, not one a commit.
_SHORTEST_GAP_SECONDS = 2.0
_POLL_SECONDS = 60.0


class KnownBudgets:
    """Of a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._budgets: Sequence[Budget] = ()
        self._news = asyncio.Event()

    def covers(self, user_id: str, key_id: str | None) -> bool:
        """Whether a hard budget may concern a call of this person, "" for anyone, and key."""
        return covers(self._budgets, user_id, key_id)

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Up to date as long as this lasts. A database that is away is no reason not to start."""
        unsubscribe = self._database.noticeboard.subscribe(self._hear)
        await self._refresh_if_possible()
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            unsubscribe()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def refresh(self) -> None:
        """The database as it is now."""
        self._budgets = await self._database.read(_all_budgets)

    def _hear(self, news: News) -> None:
        if news.anything or BUDGETS in news.configured:
            self._news.set()

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._news.wait()
            self._news.clear()
            if not await self._refresh_if_possible():
                self._news.set()
            await clock.sleep(_SHORTEST_GAP_SECONDS)

    async def _refresh_if_possible(self) -> bool:
        try:
            await self.refresh()
        except ServiceUnavailable as error:
            log.warning("budgets.not_refreshed", exc_info=error)
            return False
        return True


def _all_budgets(session: Session) -> Sequence[Budget]:
    return [budget_of(row) for row in session.scalars(select(LLMBudget))]
