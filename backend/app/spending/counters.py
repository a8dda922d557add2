"""Keeps the counters of the budgets in step with the ledger, in the transactions that write the ledger.

Invariant: a counter is the sum over the attempts of its subject that were booked in its period, of what each cost or,
while that is unknown, of what was reserved for it. Whoever changes one of the two changes the other before the commit.
The counters are changed by one transaction at a time: SQLite has one writer, PostgreSQL is given a lock. So what was
read is still true when it is written, and no two transactions wait for each other's counters crosswise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import cast

from sqlalchemy import Table, bindparam, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.announcements import news_of
from app.spending.budget import Budget, Counter, Period, Scope, Spender, budgets_of
from app.spending.budget_model import LLMBudget, LLMSpend, SpendingAlert

ALERTS = "spending_alerts"
_SPEND = cast("Table", LLMSpend.__table__)
_LOCK = text("SELECT pg_advisory_xact_lock(7325840)")
_NONE = Decimal(0)
_FULL = 100
# An SQL expression for other statements: whether anything has to be counted at all.
IS_COUNTING = "EXISTS (SELECT 1 FROM llm_budgets)"
_IS_COUNTING = f"SELECT {IS_COUNTING}"


@dataclass(frozen=True, slots=True)
class Reservation:
    """The most that an attempt may cost; None when nobody knows."""

    attempt_id: str
    spender: Spender
    most_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The budget that an attempt would cross; `most_usd` None: its price is unknown, so no budget can hold it."""

    budget: Budget
    counter: Counter
    spent_usd: Decimal
    most_usd: Decimal | None

    @property
    def resets_at(self) -> datetime:
        return self.counter.period.end(self.counter.start)


@dataclass(slots=True)
class _Sheet:
    """The counters that a transaction touches: as they were, and what is added to them."""

    spent: dict[str, Decimal]
    alerted: dict[str, int]
    added: dict[str, Decimal] = field(default_factory=dict)
    touched: dict[str, tuple[Budget, Counter]] = field(default_factory=dict)

    def total(self, key: str) -> Decimal:
        return self.spent.get(key, _NONE) + self.added.get(key, _NONE)

    def add(self, budget: Budget, counter: Counter, usd: Decimal) -> None:
        self.touched[counter.key] = budget, counter
        self.added[counter.key] = self.added.get(counter.key, _NONE) + usd


def is_counting(session: Session) -> bool:
    """Whether there is any budget. Asked in each transaction of the books, so by the shortest way."""
    return bool(session.connection().exec_driver_sql(_IS_COUNTING).scalar())


def reserve(session: Session, wanted: Sequence[Reservation]) -> Mapping[str, Refusal]:
    """Count what these attempts may cost at most; returns those, by id, that would cross a hard budget.

    In the transaction that books them; those refused must not be on the books when it commits.
    """
    budgets = _budgets(session)
    sheet = _sheet(session, budgets, [entry.spender for entry in wanted])
    refused: dict[str, Refusal] = {}
    exhausted: dict[str, tuple[Budget, Counter]] = {}
    for entry in wanted:
        concerned = list(budgets_of(entry.spender, budgets))
        refusal = _refusal(entry, concerned, sheet)
        if refusal is None:
            for budget, counter in concerned:
                sheet.add(budget, counter, entry.most_usd or _NONE)
        else:
            refused[entry.attempt_id] = refusal
            if entry.most_usd is not None:
                exhausted[refusal.counter.key] = refusal.budget, refusal.counter
    for budget, counter in exhausted.values():
        sheet.add(budget, counter, _NONE)
    _write(session, sheet)
    # A call did not go: so it is spent, even if some that is too small for a call is left.
    for budget, counter in exhausted.values():
        if _FULL in budget.alert_percents:
            _alert(session, budget, counter, sheet, percent=_FULL)
    return refused


def settle(session: Session, changes: Sequence[tuple[Spender, Decimal]]) -> None:
    """Count that attempts cost so much more, or less, than was counted for them; in the transaction that settles.

    Thresholds that are crossed by now are told of, once in a period: not by reservations, which are far above what
    the calls will cost.
    """
    budgets = _budgets(session)
    sheet = _sheet(session, budgets, [spender for spender, _ in changes])
    for spender, usd in changes:
        for budget, counter in budgets_of(spender, budgets):
            if counter.key in sheet.spent:  # without one it is a period that nobody counts
                sheet.add(budget, counter, usd)
    _write(session, sheet)
    for key, (budget, counter) in sheet.touched.items():
        percent = budget.crossed(sheet.total(key))
        if percent > sheet.alerted[key]:
            _alert(session, budget, counter, sheet, percent=percent)


def _refusal(entry: Reservation, concerned: Sequence[tuple[Budget, Counter]], sheet: _Sheet) -> Refusal | None:
    for budget, counter in concerned:
        spent = sheet.total(counter.key)
        if budget.is_hard and _crosses(entry.most_usd, spent, budget.limit_usd):
            return Refusal(budget, counter, spent, entry.most_usd)
    return None


def _crosses(most_usd: Decimal | None, spent_usd: Decimal, limit_usd: Decimal) -> bool:
    """What is free crosses nothing, not even a budget that is overdrawn."""
    return most_usd is None or (most_usd > 0 and spent_usd + most_usd > limit_usd)


def _budgets(session: Session) -> list[Budget]:
    """After the lock: an admin who changes them takes it too."""
    if session.get_bind().dialect.name != "sqlite":
        session.execute(_LOCK)
    return [budget_of(row) for row in session.scalars(select(LLMBudget))]


def budget_of(row: LLMBudget) -> Budget:
    return Budget(
        Scope(row.scope), row.subject, Period(row.period), row.limit_usd, tuple(row.alert_percents), row.is_hard
    )


def _sheet(session: Session, budgets: Sequence[Budget], spenders: Sequence[Spender]) -> _Sheet:
    keys = {counter.key for spender in set(spenders) for _, counter in budgets_of(spender, budgets)}
    rows = session.execute(
        select(LLMSpend.key, LLMSpend.spent_usd, LLMSpend.alerted_percent).where(LLMSpend.key.in_(sorted(keys)))
    ).all()
    return _Sheet({row.key: row.spent_usd for row in rows}, {row.key: row.alerted_percent for row in rows})


def _write(session: Session, sheet: _Sheet) -> None:
    rows = [
        {
            "key": key,
            "scope": counter.scope,
            "subject": counter.subject,
            "period": counter.period,
            "period_start": counter.start,
            "spent_usd": sheet.added[key],
            "alerted_percent": 0,
        }
        for key, (_, counter) in sorted(sheet.touched.items())
    ]
    if not rows:
        return
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    adding = dialect.insert(_SPEND).values(rows)
    summed = _SPEND.c.spent_usd + adding.excluded.spent_usd
    session.execute(adding.on_conflict_do_update(index_elements=["key"], set_={"spent_usd": summed}))


def _alert(session: Session, budget: Budget, counter: Counter, sheet: _Sheet, *, percent: int) -> None:
    """Once for each threshold: the row remembers the highest that was told of."""
    marking = (
        update(_SPEND)
        .where(_SPEND.c.key == bindparam("its_key"), _SPEND.c.alerted_percent < percent)
        .values(alerted_percent=percent)
    )
    if not session.execute(marking, {"its_key": counter.key}).rowcount:  # type: ignore[attr-defined]  # a CursorResult
        return
    session.add(
        SpendingAlert(
            scope=counter.scope,
            subject=counter.subject,
            period=counter.period,
            period_start=counter.start,
            percent=percent,
            spent_usd=sheet.total(counter.key),
            limit_usd=budget.limit_usd,
        )
    )
    session.flush()
    news_of(session).configured.add(ALERTS)
