"""What is spent of a budget is the sum over the ledger, whatever happens to the calls, and no call crosses a cap."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.database import Database
from app.errors import LLMBudgetExceeded
from app.llm.attempts import Attempt, AttemptOutcome, Purpose
from app.llm.ledger import statements as ledger
from app.llm.ledger.lane_books import Books
from app.spending.budget import EACH, Budget, Period, Scope, Spender, budgets_of, covers
from tests.spending.till import CENT, EACH_DAY, SYSTEM_DAY, Till


async def test_an_open_call_counts_with_the_most_it_may_cost(till: Till) -> None:
    await till.budget(SYSTEM_DAY)
    assert await till.open() is not None
    assert await till.spent() == {"system/day/": CENT}


async def test_a_settled_call_counts_with_its_cost(till: Till) -> None:
    await till.budget(SYSTEM_DAY)
    attempt = await till.open()
    assert attempt is not None
    await till.settle(attempt, Decimal("0.001"))
    assert await till.spent() == {"system/day/": Decimal("0.001")}


async def test_settling_twice_counts_once(till: Till) -> None:
    await till.budget(SYSTEM_DAY)
    attempt = await till.open()
    assert attempt is not None
    await till.settle(attempt, Decimal("0.001"))
    await till.settle(attempt, Decimal("0.001"))
    assert await till.spent() == {"system/day/": Decimal("0.001")}


async def test_a_call_of_unknown_cost_stays_counted_with_the_most(till: Till) -> None:
    await till.budget(SYSTEM_DAY)
    attempt = await till.open()
    assert attempt is not None
    await till.settle(attempt, None, AttemptOutcome.ERROR)
    assert await till.spent() == {"system/day/": CENT}


async def test_what_is_in_doubt_counts_until_a_late_answer_ends_the_doubt(till: Till) -> None:
    await till.budget(SYSTEM_DAY)
    attempt = await till.open()
    assert attempt is not None
    row_id = (await till.account("ann")).id
    await till.database.write(lambda session: ledger.doubt(session, [row_id]))
    assert await till.spent() == {"system/day/": CENT}
    await till.settle(attempt, Decimal("0.002"))
    assert await till.spent() == {"system/day/": Decimal("0.002")}


async def test_the_call_that_would_cross_the_cap_is_not_made(till: Till) -> None:
    await till.budget(replace(SYSTEM_DAY, limit_usd=Decimal("0.025")))
    assert [await till.open() is not None for _ in range(3)] == [True, True, False]
    assert await till.spent() == {"system/day/": 2 * CENT}
    assert await till.ledger_sum() == 2 * CENT


async def test_the_refusal_says_what_is_spent_and_until_when(till: Till) -> None:
    await till.budget(replace(SYSTEM_DAY, limit_usd=Decimal("0.01")))
    await till.open()
    attempt, account = Attempt(provider="one", model="m", purpose=Purpose(most_usd=CENT)), await till.account("ann")
    with pytest.raises(LLMBudgetExceeded) as caught:
        await till.books.open(account, attempt, [])
    spent = caught.value.spent
    assert spent is not None and (spent.limit_usd, spent.used_usd) == (CENT, CENT)
    assert caught.value.retry_after_seconds is not None and 0 < caught.value.retry_after_seconds <= 86400


async def test_a_call_without_a_price_cannot_be_held_by_a_budget(till: Till) -> None:
    await till.budget(EACH_DAY)
    assert await till.open(most=None) is None
    assert await till.ledger_sum() == 0


async def test_alerts_only_refuse_nothing(till: Till) -> None:
    await till.budget(replace(SYSTEM_DAY, limit_usd=Decimal(0), is_hard=False))
    assert await till.open() is not None
    assert await till.open(most=None) is not None
    assert await till.spent() == {"system/day/": CENT}


async def test_what_was_spent_before_the_budget_was_made_counts(till: Till) -> None:
    first, second = await till.open(), await till.open("bob")
    assert first is not None and second is not None
    await till.settle(first, Decimal("0.003"))
    await till.budget(SYSTEM_DAY, EACH_DAY)
    spent = await till.spent()
    assert spent.pop("system/day/") == Decimal("0.013")
    assert sorted(spent.values()) == [Decimal("0.003"), CENT]
    await till.settle(second, Decimal("0.001"))
    assert (await till.spent())["system/day/"] == Decimal("0.004")


async def test_each_has_a_budget_of_their_own_and_ones_own_comes_before_it(till: Till) -> None:
    bob = (await till.account("bob")).user_id
    await till.budget(replace(EACH_DAY, limit_usd=CENT), replace(EACH_DAY, subject=bob, limit_usd=2 * CENT))
    assert [await till.open("ann") is not None for _ in range(2)] == [True, False]
    assert [await till.open("bob") is not None for _ in range(3)] == [True, True, False]


async def test_all_budgets_must_hold_the_call_and_a_refused_one_counts_nowhere(till: Till) -> None:
    await till.budget(replace(SYSTEM_DAY, period=Period.MONTH), replace(EACH_DAY, limit_usd=CENT))
    assert [await till.open("ann") is not None for _ in range(2)] == [True, False]
    assert (await till.spent())["system/month/"] == CENT


async def test_a_key_has_its_budget(till: Till) -> None:
    await till.budget(Budget(Scope.KEY, "k1", Period.MONTH, CENT))
    assert [await till.open(key="k1") is not None for _ in range(2)] == [True, False]
    assert await till.open(key="k2") is not None and await till.open() is not None


async def test_a_budget_that_is_gone_counts_nothing(till: Till) -> None:
    await till.budget(SYSTEM_DAY)
    await till.open()
    await till.budget()
    assert await till.spent() == {}
    assert await till.open(most=None) is not None


async def test_raising_a_budget_keeps_what_is_spent(till: Till) -> None:
    await till.budget(replace(SYSTEM_DAY, limit_usd=CENT))
    assert [await till.open() is not None for _ in range(2)] == [True, False]
    await till.budget(replace(SYSTEM_DAY, limit_usd=2 * CENT))
    assert [await till.open() is not None for _ in range(2)] == [True, False]


async def test_a_threshold_is_told_of_once_under_fifty_racing_calls(till: Till) -> None:
    await till.budget(replace(SYSTEM_DAY, limit_usd=Decimal(1), alert_percents=(25, 80)))
    attempts = await asyncio.gather(*(till.open(f"u{place % 5}") for place in range(50)))
    others = Database(str(till.database.url.render_as_string(hide_password=False)))
    await others.start()
    try:
        tills = [till, Till(others)]
        await asyncio.gather(
            *(tills[place % 2].settle(attempt, CENT) for place, attempt in enumerate(attempts) if attempt)
        )
    finally:
        await others.close()
    assert await till.alerts() == [25]


async def test_a_refused_call_tells_that_the_budget_is_spent_once(till: Till) -> None:
    await till.budget(replace(SYSTEM_DAY, limit_usd=Decimal("0.015"), alert_percents=(100,)))
    assert [await till.open() is not None for _ in range(3)] == [True, False, False]
    assert await till.alerts() == [100]


async def test_racing_processes_never_pass_a_cap(till: Till) -> None:
    """Two databases are two writers on SQLite and two pools on PostgreSQL, as two processes are."""
    await till.budget(SYSTEM_DAY, replace(EACH_DAY, limit_usd=Decimal("0.04")))
    for user in ("ann", "bob", "cid"):
        await till.account(user)
    other = Database(str(till.database.url.render_as_string(hide_password=False)))
    await other.start()
    try:
        books = [till.books, Books(other), Books(till.database)]
        opened: list[Any] = await asyncio.gather(
            *(till.open(("ann", "bob", "cid")[n % 3], books=books[n % 2]) for n in range(60))
        )
    finally:
        await other.close()
    made = [attempt for attempt in opened if attempt]
    assert len(made) == 10
    assert (await till.spent())["system/day/"] == await till.ledger_sum() == Decimal("0.10")


def test_periods_are_those_of_the_utc_calendar() -> None:
    moment = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    starts = [period.start(moment) for period in Period]
    assert [(start.hour, start.day) for start in starts] == [(23, 31), (0, 31), (0, 1)]
    ends = {period.end(start) for period, start in zip(Period, starts, strict=True)}
    assert ends == {datetime(2027, 1, 1, tzinfo=UTC)}


def test_ones_own_budget_takes_the_place_of_each_ones_in_any_order() -> None:
    own = replace(EACH_DAY, subject="ann")
    spender = Spender("ann", None, datetime(2026, 1, 1, tzinfo=UTC))
    for order in ([own, EACH_DAY], [EACH_DAY, own]):
        assert [budget for budget, _ in budgets_of(spender, order)] == [own]


@pytest.mark.parametrize(
    ("budget", "user", "key", "covered"),
    [
        (SYSTEM_DAY, "ann", None, True),
        (replace(SYSTEM_DAY, is_hard=False), "ann", None, False),
        (EACH_DAY, "ann", None, True),
        (replace(EACH_DAY, subject="bob"), "ann", None, False),
        (replace(EACH_DAY, subject="bob"), "", None, True),
        (Budget(Scope.KEY, EACH, Period.DAY, CENT), "ann", None, False),
        (Budget(Scope.KEY, EACH, Period.DAY, CENT), "ann", "k", True),
    ],
)
def test_whether_a_budget_may_concern_a_call(budget: Budget, user: str, key: str | None, covered: object) -> None:
    assert covers([budget], user, key) is covered
