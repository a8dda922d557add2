"""A ledger with budgets on it, without a worker: rows that spend, and what the counters say of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from app.accounts.identity import Identity
from app.clock import utc_now
from app.database import Database, from_pico, new_id
from app.errors import LLMBudgetExceeded
from app.items.item_model import Item
from app.llm.attempts import Attempt, AttemptOutcome, Purpose, Usage
from app.llm.ledger import statements as ledger
from app.llm.ledger.lane_books import Books
from app.llm.ledger.statements import Account
from app.spending.budget import EACH, Budget, Period, Scope
from app.spending.budget_model import LLMSpend, SpendingAlert
from app.spending.service import WaitingRows, replace_budgets

CENT = Decimal("0.01")
SYSTEM_DAY = Budget(Scope.SYSTEM, "", Period.DAY, Decimal("0.10"))
EACH_DAY = Budget(Scope.USER, EACH, Period.DAY, Decimal("0.05"))
ITEMS = (WaitingRows("items", "ENRICHING"),)


def usage_of(cost_usd: Decimal) -> Usage:
    """One token at that price."""
    return Usage(1, 0, cost_usd, Decimal(0))


@dataclass
class Till:
    """People who spend: each has one row, which is being worked on."""

    database: Database
    books: Books = field(init=False)
    accounts: dict[str, Account] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.books = Books(self.database)

    async def budget(self, *budgets: Budget) -> None:
        await self.database.write(lambda session: replace_budgets(session, budgets, ITEMS))

    async def account(self, user: str) -> Account:
        if user not in self.accounts:
            user_id = await Identity(self.database, dev_auth=True).user_id_of(user)
            item_id, now = new_id(), utc_now()
            values = {
                "id": item_id,
                "user_id": user_id,
                "raw_text": "x",
                "text_hash": "x",
                "status": "ENRICHING",
                "enrichment_mode": "AI",
                "claim_seq": 1,
                "created_at": now,
                "updated_at": now,
            }
            await self.database.write(lambda session: session.execute(insert(Item).values(values)))
            self.accounts[user] = Account("enrichment", "items", "ENRICHING", item_id, user_id, 1)
        return self.accounts[user]

    async def open(
        self, user: str = "ann", most: Decimal | None = CENT, *, key: str | None = None, books: Books | None = None
    ) -> Attempt | None:
        """None when a budget refused it."""
        attempt = Attempt(provider="one", model="one/model", purpose=Purpose(most_usd=most, api_key_id=key))
        try:
            await (books or self.books).open(await self.account(user), attempt, [])
        except LLMBudgetExceeded:
            return None
        return attempt

    async def settle(self, attempt: Attempt, cost: Decimal | None, outcome: AttemptOutcome = AttemptOutcome.OK) -> None:
        attempt.settle(outcome, usage=None if cost is None else usage_of(cost))
        await self.database.write(lambda session: ledger.settle(session, [attempt]))

    async def spent(self) -> dict[str, Decimal]:
        """What the counters say, by scope, period and subject."""
        rows = await self.database.read(lambda session: list(session.scalars(select(LLMSpend))))
        return {f"{row.scope}/{row.period}/{row.subject}": row.spent_usd for row in rows}

    async def ledger_sum(self, user: str | None = None) -> Decimal:
        whose = "" if user is None else " WHERE user_id = :user"
        statement = text(f"SELECT SUM(COALESCE(cost_usd, reserved_usd, 0)) FROM llm_attempts{whose}")  # noqa: S608
        binds: Mapping[str, str] = {} if user is None else {"user": (await self.account(user)).user_id}
        return from_pico(int(await self.database.read(lambda session: session.scalar(statement, binds)) or 0))

    async def alerts(self) -> list[int]:
        def read(session: Session) -> list[int]:
            return list(session.scalars(select(SpendingAlert.percent).order_by(SpendingAlert.id)))

        return await self.database.read(read)
