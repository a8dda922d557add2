"""The books themselves, without a vendor: what is opened and settled while budgets refuse, or the database goes."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import clock
from app.clock import utc_now
from app.config import LLMSettings
from app.context.estimate import estimate
from app.database import Database
from app.enrichment.schemas import EnrichmentSchema
from app.errors import LeaseLost, LLMBudgetExceeded, ServiceUnavailable
from app.llm.attempts import Attempt, AttemptOutcome, Purpose, Saved, Usage
from app.llm.call import CacheScope, Finished, Spender
from app.llm.codecs import form_codec
from app.llm.extraction import ModelFacts
from app.llm.gateway import build_gateway
from app.llm.ledger import direct_books, reservation
from app.llm.ledger import statements as ledger
from app.llm.ledger.attempt_model import LLMAttempt
from app.llm.ledger.direct_books import DirectBooks
from app.llm.ledger.lane_books import Books, JobRecorder
from app.llm.routing import Candidate
from app.providers.provider import Provider, ProviderKind
from tests.llm.gateway_calls import chat
from tests.spending.till import CENT, SYSTEM_DAY, Till, usage_of

T = TypeVar("T")
MODEL: Any = {"provider": "one", "model": "one/model"}
COSTS_A_CENT = Purpose(most_usd=CENT)


class Weak(Database):
    """Refuses to write as often as it is told to."""

    refusals = 0

    async def write(self, work: Callable[[Session], T]) -> T:
        if self.refusals:
            self.refusals -= 1
            raise ServiceUnavailable
        return await super().write(work)


@pytest.fixture
async def weak(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(direct_books, "_RETRY_SECONDS", 0.01)
    database = Weak(database_url)
    await database.start()
    yield database
    await database.close()


async def rows_of(database: Database) -> list[LLMAttempt]:
    query = select(LLMAttempt).order_by(LLMAttempt.id)
    return await database.read(lambda session: list(session.scalars(query)))


async def settled(database: Database, outcomes: list[str | None]) -> None:
    async with asyncio.timeout(10):
        while [row.outcome for row in await rows_of(database)] != outcomes:
            await clock.sleep(0.01)


def direct(database: Database, **spender: Any) -> Any:
    call = chat(spender=Spender(**{"user_id": "ann", "lane": "chat", **spender}))
    return DirectBooks(database).recorder_of(call)


async def test_a_direct_call_that_would_cross_a_budget_is_not_on_the_books(till: Till) -> None:
    await till.budget(replace(SYSTEM_DAY, limit_usd=CENT))
    recorder = direct(till.database)
    first = await recorder.open(**MODEL, purpose=COSTS_A_CENT)
    with pytest.raises(LLMBudgetExceeded):
        await recorder.open(**MODEL, purpose=COSTS_A_CENT)
    assert [row.id for row in await rows_of(till.database)] == [first.id]
    assert await till.spent() == {"system/day/": CENT}


async def test_where_the_database_is_away_no_direct_call_leaves(weak: Weak) -> None:
    weak.refusals = 1
    with pytest.raises(ServiceUnavailable):
        await direct(weak).open(**MODEL)
    assert await rows_of(weak) == []


async def test_what_was_spent_gets_into_the_books_when_the_database_is_back(weak: Weak) -> None:
    recorder = direct(weak)
    attempts = [await recorder.open(**MODEL) for _ in range(2)]
    weak.refusals = 3
    for attempt in attempts:
        attempt.settle(AttemptOutcome.OK, usage=usage_of(CENT))
        recorder.close(attempt)
    await settled(weak, ["OK", "OK"])
    assert [row.cost_usd for row in await rows_of(weak)] == [CENT, CENT]


async def test_an_answer_from_before_is_noted_without_a_wait_and_costs_no_budget_anything(till: Till) -> None:
    await till.budget(replace(SYSTEM_DAY, limit_usd=Decimal(0)))
    free = Purpose(most_usd=Decimal(0))
    await direct(till.database).note_cached(**MODEL, purpose=free, saved=Saved(15, CENT))
    await settled(till.database, ["CACHED"])
    (row,) = await rows_of(till.database)
    assert (row.cost_usd, row.saved_tokens, row.saved_usd) == (Decimal(0), 15, CENT)
    assert await till.spent() == {"system/day/": Decimal(0)}


async def test_the_sweep_outlives_an_outage(weak: Weak, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_books, "_SWEEP_SECONDS", 0.01)
    await direct(weak).open(**MODEL)
    past = utc_now() - timedelta(seconds=1)
    await weak.write(lambda session: session.execute(update(LLMAttempt).values(expires_at=past)))
    weak.refusals = 2
    async with DirectBooks(weak).swept():
        await settled(weak, ["IN_DOUBT"])


def job(till: Till, account: ledger.Account, may_spend: Callable[[], bool] = lambda: True) -> JobRecorder:
    return JobRecorder(till.books, account, may_spend)


async def test_a_process_that_slept_over_its_opening_makes_no_call_and_owes_nothing(till: Till) -> None:
    await till.budget(SYSTEM_DAY)
    answers = iter([True, False])
    recorder = job(till, await till.account("ann"), lambda: next(answers))
    with pytest.raises(LeaseLost):
        await recorder.open(**MODEL, purpose=COSTS_A_CENT)
    await till.database.write(partial(ledger.settle, attempts=recorder.end()))
    (row,) = await rows_of(till.database)
    assert (row.outcome, row.cost_usd) == ("UNUSED", Decimal(0))
    assert await till.spent() == {"system/day/": Decimal(0)}


async def test_after_its_deadline_a_job_opens_nothing(till: Till) -> None:
    with pytest.raises(LeaseLost):
        await job(till, await till.account("ann"), lambda: False).open(**MODEL)
    assert await rows_of(till.database) == []


async def test_a_row_that_went_on_meanwhile_can_spend_nothing_more(till: Till) -> None:
    account = replace(await till.account("ann"), claim_seq=7)
    with pytest.raises(LeaseLost):
        await job(till, account).open(**MODEL, purpose=COSTS_A_CENT)
    assert await rows_of(till.database) == []


async def test_a_job_notes_an_answer_from_before(till: Till) -> None:
    recorder = job(till, await till.account("ann"))
    await recorder.note_cached(**MODEL, purpose=Purpose(most_usd=Decimal(0)), saved=Saved(15, None))
    await till.database.write(partial(ledger.settle, attempts=recorder.end()))
    (row,) = await rows_of(till.database)
    assert (row.outcome, row.saved_tokens, row.saved_usd) == ("CACHED", 15, None)


async def test_where_the_database_is_away_every_waiting_job_is_told_and_those_that_left_are_not(weak: Weak) -> None:
    till = Till(weak)
    account, books = await till.account("ann"), Books(weak)
    weak.refusals = 1
    first, gone = (asyncio.create_task(books.open(account, Attempt(**MODEL), [])) for _ in range(2))
    await clock.sleep(0)
    gone.cancel()
    with pytest.raises(ServiceUnavailable):
        await first
    assert await rows_of(weak) == []


async def test_who_leaves_while_its_attempt_is_committed_disturbs_nobody(till: Till) -> None:
    account = await till.account("ann")
    stays, leaves = Attempt(**MODEL), Attempt(**MODEL)
    tasks = [asyncio.create_task(till.books.open(account, attempt, [])) for attempt in (leaves, stays)]
    await clock.sleep(0)
    tasks[0].cancel()
    await tasks[1]
    assert {row.id for row in await rows_of(till.database)} == {stays.id, leaves.id}


async def test_what_was_booked_in_a_period_that_nobody_counts_any_more_is_settled_without_a_counter(till: Till) -> None:
    await till.budget(SYSTEM_DAY)
    attempt = await till.open()
    assert attempt is not None
    yesterday = utc_now() - timedelta(days=1)
    await till.database.write(lambda session: session.execute(update(LLMAttempt).values(started_at=yesterday)))
    await till.settle(attempt, Decimal("0.002"))
    assert await till.spent() == {"system/day/": CENT}
    assert await till.ledger_sum() == Decimal("0.002")


@pytest.mark.parametrize(
    ("price", "is_local", "most"),
    [(Decimal("0.1"), False, Decimal("1.2")), (None, False, None), (None, True, Decimal(0))],
)
def test_the_most_that_a_call_may_cost(price: Decimal | None, *, is_local: bool, most: Decimal | None) -> None:
    provider = Provider("p", ProviderKind.OPENAI_COMPATIBLE, is_local=is_local)
    facts = ModelFacts("p", input_price_usd=price, output_price_usd=price)
    assert reservation.most_usd(Candidate("p/m", provider, facts, ""), input_tokens=10, output_tokens=2) == most


def test_a_schema_is_paid_for_as_what_is_read() -> None:
    shape = form_codec(EnrichmentSchema).shape
    assert reservation.tokens_of_shape(shape) > estimate(shape)  # indented, and with the sentences around it


def test_what_the_provider_had_in_its_own_cache_has_its_own_price() -> None:
    usage = Usage(100, 10, Decimal(3), Decimal(5), cached_tokens=40, cached_price_usd=Decimal(1))
    assert usage.cost_usd == 60 * 3 + 40 * 1 + 10 * 5
    assert replace(usage, cached_price_usd=None).cost_usd == 100 * 3 + 10 * 5


async def test_without_a_database_calls_are_answered_and_nothing_is_kept_of_them() -> None:
    gateway = build_gateway(LLMSettings(_env_file=None))
    call = chat(task="image_prompt", cache=CacheScope.PERSON)
    async with gateway.keeping_books():
        first, again = await gateway.complete(call), await gateway.complete(call)
        pieces = [event async for event in gateway.stream(replace(call, cache=CacheScope.OFF))]
    await gateway.close()
    assert (first.receipt.cached, again.receipt.cached, again.content) == (False, True, first.content)
    assert isinstance(pieces[-1], Finished)
