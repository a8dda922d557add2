"""What an admin does with budgets; each function in the caller's transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from app.announcements import news_of
from app.clock import utc_now
from app.database import ID_MARGIN, first_id, from_pico, sqlite_time
from app.errors import LLMBudgetExceeded
from app.spending.budget import EACH, Budget, Counter, Scope
from app.spending.budget_model import LLMBudget, LLMSpend
from app.spending.counters import budget_of

BUDGETS = "budgets"
# Whoever writes the ledger holds it against this lock until the commit: when it is ours, the sum is complete, and all
# who come after us see the budget.
_NO_LEDGER_WRITERS = text("LOCK TABLE llm_attempts IN SHARE ROW EXCLUSIVE MODE")
_COLUMN_OF = {Scope.USER: "user_id", Scope.KEY: "api_key_id"}


@dataclass(frozen=True, slots=True)
class WaitingRows:
    """A table whose rows wait where a budget is spent: its name, and the status in which they do."""

    table: str
    working: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget and what was spent of it in the period that runs now; None for a budget of each."""

    budget: Budget
    spent_usd: Decimal | None
    resets_at: datetime


def standings(session: Session) -> list[Standing]:
    """All budgets, the system's first."""
    now = utc_now()
    rows = session.scalars(select(LLMBudget).order_by(LLMBudget.scope, LLMBudget.subject, LLMBudget.period)).all()
    found = sorted((budget_of(row) for row in rows), key=lambda budget: list(Scope).index(budget.scope))
    counters = {budget: _counter(budget, now) for budget in found}
    keys = [counter.key for counter in counters.values()]
    spent = {row.key: row.spent_usd for row in session.scalars(select(LLMSpend).where(LLMSpend.key.in_(keys)))}
    return [
        Standing(
            budget,
            None if budget.subject == EACH else spent.get(counter.key, Decimal(0)),
            budget.period.end(counter.start),
        )
        for budget, counter in counters.items()
    ]


def replace_budgets(session: Session, budgets: Sequence[Budget], waiting: Iterable[WaitingRows]) -> None:
    """These and no others, from now on. What was spent in the running periods is counted from the ledger.

    Rows that waited because a budget was spent are taken up again: those for whom it still is will wait again.
    """
    if session.get_bind().dialect.name != "sqlite":
        session.execute(_NO_LEDGER_WRITERS)
    session.execute(delete(LLMBudget))
    session.add_all(
        LLMBudget(
            scope=budget.scope,
            subject=budget.subject,
            period=budget.period,
            limit_usd=budget.limit_usd,
            alert_percents=list(budget.alert_percents),
            is_hard=budget.is_hard,
        )
        for budget in budgets
    )
    session.flush()
    _recount(session, budgets, utc_now())
    for rows in waiting:
        session.execute(_take_up(rows))
    news = news_of(session)
    news.configured.add(BUDGETS)
    news.ready = True


def _counter(budget: Budget, now: datetime) -> Counter:
    return Counter(budget.scope, budget.subject, budget.period, budget.period.start(now))


def _recount(session: Session, budgets: Sequence[Budget], now: datetime) -> None:
    """The counters of the running periods anew; those of past ones are of no use. What was told of stays told."""
    told = {row.key: row.alerted_percent for row in session.scalars(select(LLMSpend))}
    session.execute(delete(LLMSpend))
    session.expunge_all()
    sums: dict[str, LLMSpend] = {}
    for budget in budgets:
        for subject, spent in _sums(session, budget, now):
            counter = Counter(budget.scope, subject, budget.period, budget.period.start(now))
            sums[counter.key] = LLMSpend(
                key=counter.key,
                scope=counter.scope,
                subject=subject,
                period=counter.period,
                period_start=counter.start,
                spent_usd=spent,
                alerted_percent=told.get(counter.key, 0),
            )
    session.add_all(sums.values())
    session.flush()


def _sums(session: Session, budget: Budget, now: datetime) -> list[tuple[str, Decimal]]:
    """Spent in the running period: by subject where the budget is each one's."""
    column, start = _COLUMN_OF.get(budget.scope), budget.period.start(now)
    whose = f"{column} IS NOT NULL" if column and budget.subject == EACH else f"{column} = :subject"
    rows = session.execute(
        text(
            f"SELECT {column or chr(39) * 2} AS subject,"  # noqa: S608 - names from our own code
            " SUM(COALESCE(cost_usd, reserved_usd, 0)) AS spent FROM llm_attempts"
            f" WHERE id >= :first AND started_at >= :start{f' AND {whose}' if column else ''}"
            f"{f' GROUP BY {column}' if column else ''}"
        ),
        _binds(session, budget, start),
    ).all()
    return [(row.subject, from_pico(int(row.spent or 0))) for row in rows]


def _binds(session: Session, budget: Budget, start: datetime) -> dict[str, Any]:
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    binds: dict[str, Any] = {
        "first": first_id(start - ID_MARGIN),
        "start": sqlite_time(start) if on_sqlite else start,
    }
    if budget.scope in _COLUMN_OF and budget.subject != EACH:
        binds["subject"] = budget.subject
    return binds


def _take_up(rows: WaitingRows) -> Any:  # noqa: ANN401 - a TextClause
    return text(
        f"UPDATE {rows.table} SET not_before = NULL"  # noqa: S608 - names from our own code
        f" WHERE status = '{rows.working}' AND lease_owner IS NULL AND not_before IS NOT NULL"
        f" AND wait_code = '{LLMBudgetExceeded.code}'"
    )
