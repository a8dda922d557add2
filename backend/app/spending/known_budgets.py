"""The budgets as this process knows them, for plans: which calls must be able to say what they may cost.

A hint, up to seconds old. What may be spent is decided where it is reserved, in the ledger's own transactions.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database import Database
from app.following import followed
from app.spending.budget import Budget, covers
from app.spending.budget_model import LLMBudget
from app.spending.counters import budget_of
from app.spending.service import BUDGETS


class KnownBudgets:
    """Of a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._budgets: Sequence[Budget] = ()

    def covers(self, user_id: str, key_id: str | None) -> bool:
        """Whether a hard budget may concern a call of this person, "" for anyone, and key."""
        return covers(self._budgets, user_id, key_id)

    def followed(self) -> AbstractAsyncContextManager[None]:
        """In the block, it is up to date."""
        return followed(self._database, BUDGETS, self.refresh)

    async def refresh(self) -> None:
        """The database as it is now."""
        self._budgets = await self._database.read(_all_budgets)


def _all_budgets(session: Session) -> Sequence[Budget]:
    return [budget_of(row) for row in session.scalars(select(LLMBudget))]
