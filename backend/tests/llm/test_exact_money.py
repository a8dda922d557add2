"""Over a thousand calls with faults, streams, cached answers and budgets the books are the upstream's own."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database import Database
from app.errors import LLMBudgetExceeded, LLMError
from app.llm.call import CacheScope, Call, Completion, Finished, Spender
from app.llm.gateway import Gateway, build_gateway
from app.llm.ledger import statements as ledger
from app.llm.ledger.attempt_model import LLMAttempt
from app.llm.ledger.lane_books import Books, JobRecorder
from app.spending.budget import EACH, Budget, Period, Scope
from app.spending.budget_model import LLMSpend, SpendingAlert
from tests.llm.gateway_calls import chat
from tests.llm.recorder import billed, llm_settings
from tests.protocol_server.choice import Mix
from tests.protocol_server.server import ProtocolServer
from tests.spending.till import Till

CALLS = 1000
PEOPLE = ("ann", "bob", "cid", "dan", "poor")
KEYS = (None, "key", "poor key")
WEIGHTS = {"500": 3, "503": 2, "429": 1, "empty": 2, "cut": 2, "404": 1, "400": 1, "content_filter": 1}
# Its answers may be given again.
CACHED_TASK = "image_prompt"
NO_CALL = {"CACHED", "UNUSED"}


@dataclass
class Process:
    """One of those that share the database."""

    gateway: Gateway
    till: Till
    books: Books


@pytest.fixture
async def two(upstream: ProtocolServer, database: Database) -> AsyncIterator[list[Process]]:
    other = Database(database.url.render_as_string(hide_password=False))
    await other.start()
    settings, till = llm_settings(upstream.base_url), Till(database)
    for name in PEOPLE:
        await till.account(name)
    made = [
        Process(build_gateway(settings, database=each, is_budgeted=lambda _: True), till, Books(each))
        for each in (database, other)
    ]
    yield made
    for process in made:
        await process.gateway.close()
    await other.close()


async def answer_of(process: Process, number: int) -> Completion:
    """Of every kind: streams, cached ones, jobs of a row, calls that a key pays. Raises LLMError."""
    user = PEOPLE[number % len(PEOPLE)]
    account = await process.till.account(user)
    spender = Spender(account.user_id, "chat", api_key_id=KEYS[number % 7 % len(KEYS)])
    call = chat(f"Question number {number}", deadline_seconds=60, spender=spender)
    if number % 4 == 0:
        again = f"Question number {number % 20} that many ask"
        call = replace(call, task=CACHED_TASK, cache=CacheScope.PERSON, prompt=({"role": "user", "content": again},))
    if number % 3 == 0:
        return await streamed(process, call)
    if number % 5 == 1:
        recorder = JobRecorder(process.books, account, lambda: True)
        try:
            return await process.gateway.complete(call, recorder)
        finally:
            settle = partial(ledger.settle, attempts=recorder.end())
            await process.till.database.write(settle)
    return await process.gateway.complete(call)


async def streamed(process: Process, call: Call) -> Completion:
    async with aclosing(process.gateway.stream(call)) as events:
        last = [event async for event in events][-1]
    assert isinstance(last, Finished)
    return last.completion


@dataclass
class Found:
    rows: dict[str, LLMAttempt]
    counters: list[LLMSpend]
    alerts: list[tuple[str, str, int]]


def read_all(session: Session) -> Found:
    rows = {row.id: row for row in session.scalars(select(LLMAttempt))}
    alerts = [(row.scope, row.subject, row.percent) for row in session.scalars(select(SpendingAlert))]
    return Found(rows, list(session.scalars(select(LLMSpend))), alerts)


def charge_of(row: LLMAttempt) -> Decimal:
    known = row.reserved_usd if row.cost_usd is None else row.cost_usd
    return known or Decimal(0)


def subject_of(row: LLMAttempt, scope: str) -> str | None:
    return {"system": "", "user": row.user_id, "key": row.api_key_id}[scope]


def check_counters(found: Found, limits: Mapping[tuple[Scope, str], Decimal]) -> None:
    """Each is the sum over its rows, and within its limit."""
    for counter in found.counters:
        own = [row for row in found.rows.values() if subject_of(row, counter.scope) == counter.subject]
        assert counter.spent_usd == sum(map(charge_of, own)), (counter.scope, counter.subject)
        scope = Scope(counter.scope)
        assert counter.spent_usd <= limits.get((scope, counter.subject), limits.get((scope, EACH), Decimal(0)))


@pytest.mark.slow
async def test_over_a_thousand_mixed_calls_the_books_are_the_upstreams_own_and_the_counters_the_ledgers(
    two: list[Process], upstream: ProtocolServer
) -> None:
    till = two[0].till
    poor = (await till.account("poor")).user_id
    limits = {
        (Scope.SYSTEM, ""): Decimal(1),
        (Scope.USER, EACH): Decimal("0.5"),
        (Scope.USER, poor): Decimal("0.003"),
        (Scope.KEY, "poor key"): Decimal("0.004"),
        (Scope.KEY, EACH): Decimal(1),
    }
    await till.budget(*(Budget(*whose, Period.MONTH, usd, (50, 100)) for whose, usd in limits.items()))
    upstream.set_mix(Mix(0.3, seed=7, weights=WEIGHTS))
    few = asyncio.Semaphore(50)

    async def ask(number: int) -> str:
        async with few:
            try:
                answer = await answer_of(two[number % 2], number)
            except LLMError as fault:
                return type(fault).__name__
            return "cached" if answer.receipt.cached else "answered"

    came = Counter(await asyncio.gather(*(ask(number) for number in range(CALLS))))
    for process in two:
        await process.gateway.close()
    found = await till.database.read(read_all)

    rows = {id_: row for id_, row in found.rows.items() if row.outcome not in NO_CALL}
    assert rows.keys() == {call.correlation_id for call in upstream.calls}
    pairs = [(rows[str(call.correlation_id)], call) for call in upstream.calls]
    known = [(row, call) for row, call in pairs if row.input_tokens is not None]
    lost = [(row, call) for row, call in pairs if row.input_tokens is None]
    assert [(row.input_tokens, row.output_tokens) for row, _ in known] == billed([call for _, call in known])
    # Of an answer that broke off on its way nobody told us the count: unknown, and no number in its place.
    assert {call.fault.partition("_")[0] for _, call in lost} <= {"stream", "reset", "html"}
    assert {(row.outcome, row.cost_usd) for row, _ in lost} == {("ERROR", None)}
    assert all(charge_of(row) <= (row.reserved_usd or 0) for row in rows.values())

    check_counters(found, limits)
    assert {(counter.scope, counter.subject) for counter in found.counters} >= {("system", ""), ("user", poor)}
    assert len(set(found.alerts)) == len(found.alerts) and ("user", poor, 100) in found.alerts
    assert came["cached"] > 100 and came[LLMBudgetExceeded.__name__] > 50 and came["answered"] > 400, came
    assert len(lost) > 30
