"""The cache: the same question of the same person is asked once, and nobody is given another one's answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app import clock
from app.clock import utc_now
from app.database import Database
from app.enrichment.schemas import EnrichmentSchema
from app.errors import LLMBadRequest, LLMBudgetExceeded, LLMError, LLMUnreachable
from app.llm.cache import Kept, Slot, forget_expired
from app.llm.cache_model import CachedAnswer
from app.llm.call import CacheScope, Call, Completion, Delta, Finished, Parameters, Spender
from app.llm.gateway import Gateway
from app.llm.ledger.attempt_model import LLMAttempt
from app.llm.routing_rules import RoutingRules, TaskRules, load_rules
from app.llm.vendors.upstreams import build_upstreams
from app.prompts.registry import as_in_files
from app.providers.from_settings import providers_of
from app.spending.budget import Budget, Period, Scope
from app.spending.service import replace_budgets
from tests.llm.gateway_calls import SECOND, chat
from tests.llm.recorder import MODEL, Recorder, llm_settings
from tests.protocol_server.server import ProtocolServer

KEPT = chat(cache=CacheScope.PERSON)
OTHER_PERSON = Spender(user_id="ben", lane="chat")


def cached_gateway(
    upstream: ProtocolServer, database: Database | None, seconds: float = 60, *, compress: tuple[str, ...] = ()
) -> Gateway:
    settings = llm_settings(upstream.base_url, fallback_models=[SECOND])
    tasks = {**load_rules().tasks, "chat": TaskRules.model_validate({"cache_seconds": seconds, "compress": compress})}
    own = providers_of(settings)
    upstreams = build_upstreams(settings)
    return Gateway(settings, upstreams, RoutingRules(tasks=tasks), providers=lambda: own, database=database)


@pytest.fixture
async def gateway(upstream: ProtocolServer, database: Database) -> AsyncIterator[Gateway]:
    made = cached_gateway(upstream, database)
    await made.start()
    yield made
    await made.close()


async def test_a_question_asked_again_is_answered_without_a_call(gateway: Gateway, upstream: ProtocolServer) -> None:
    first, again = await gateway.complete(KEPT), await gateway.complete(KEPT)
    assert (first.content, first.finish_reason) == (again.content, again.finish_reason)
    assert (first.receipt.cached, again.receipt.cached) == (False, True)
    assert (again.receipt.model, again.receipt.cost_usd) == (MODEL, Decimal(0))
    assert len(upstream.calls) == 1
    assert gateway.cache.counts["hits"] == gateway.cache.counts["misses"] == 1


async def test_a_hit_is_on_the_books_with_what_it_saves(gateway: Gateway, database: Database) -> None:
    first = await gateway.complete(KEPT)
    await gateway.complete(KEPT)
    await gateway.close()
    rows = await database.read(lambda session: list(session.scalars(select(LLMAttempt).order_by(LLMAttempt.id))))
    assert [row.outcome for row in rows] == ["OK", "CACHED"]
    assert (rows[1].input_tokens, rows[1].output_tokens, rows[1].cost_usd) == (0, 0, Decimal(0))
    assert rows[1].saved_tokens == first.receipt.usage.total_tokens == gateway.cache.counts["saved_tokens"]
    assert rows[1].saved_usd == first.receipt.cost_usd


async def test_texts_that_are_sent_alike_share_an_answer_and_each_has_its_own_coverage(
    upstream: ProtocolServer, database: Database
) -> None:
    gateway = cached_gateway(upstream, database, compress=("blanks", "comments"))
    await gateway.start()
    whole = "Look at this:\n```py\nx = 1\n```"
    spaced, commented = whole.replace("at ", "at" + " " * 20), whole.replace("x =", "# It is one, always.\nx =")
    prompt = as_in_files("development").get("query")
    call = replace(KEPT, prompt=prompt, variables={"question": "What is x?"})
    answers = [await gateway.complete(replace(call, document=text)) for text in (commented, whole, spaced)]
    assert len(upstream.calls) == 1
    assert [answer.receipt.cached for answer in answers] == [False, True, True]
    assert answers[0].receipt.coverage < answers[1].receipt.coverage == 1
    await gateway.close()


async def test_a_structured_answer_is_kept_too(gateway: Gateway, upstream: ProtocolServer) -> None:
    first = await gateway.extract(KEPT, EnrichmentSchema, Recorder())
    again = await gateway.extract(KEPT, EnrichmentSchema, Recorder())
    assert first.content == again.content and again.receipt.cached
    assert len(upstream.calls) == 1


async def test_a_kept_answer_is_streamed_as_one_piece(gateway: Gateway, upstream: ProtocolServer) -> None:
    whole = await gateway.complete(KEPT)
    async with aclosing(gateway.stream(KEPT)) as stream:
        events = [event async for event in stream]
    assert events[0] == Delta(whole.content)
    assert isinstance(events[1], Finished) and events[1].receipt.cached
    assert len(upstream.calls) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"spender": OTHER_PERSON},
        {"prompt": ({"role": "user", "content": "Another question."},)},
        {"parameters": Parameters(max_tokens=201)},
        {"models": (SECOND,)},
        {"cache": CacheScope.SHARED},
        {"cache": CacheScope.OFF},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_what_is_not_the_same_is_asked(
    change: dict[str, Any], gateway: Gateway, upstream: ProtocolServer
) -> None:
    await gateway.complete(KEPT)
    assert not (await gateway.complete(replace(KEPT, **change))).receipt.cached
    assert len(upstream.calls) == 2


async def test_what_holds_nothing_of_a_person_is_given_to_everybody(gateway: Gateway, upstream: ProtocolServer) -> None:
    shared = replace(KEPT, cache=CacheScope.SHARED)
    await gateway.complete(shared)
    assert (await gateway.complete(replace(shared, spender=OTHER_PERSON))).receipt.cached
    assert len(upstream.calls) == 1


async def test_the_switch_of_the_task_holds(upstream: ProtocolServer) -> None:
    gateway = cached_gateway(upstream, None, seconds=0)
    await gateway.complete(KEPT)
    await gateway.complete(KEPT)
    await gateway.close()
    assert len(upstream.calls) == 2


async def test_answers_outlive_the_process_and_not_their_time(
    gateway: Gateway, upstream: ProtocolServer, database: Database
) -> None:
    await gateway.complete(KEPT)
    await gateway.close()
    other = cached_gateway(upstream, database)
    assert (await other.complete(KEPT)).receipt.cached
    past = update(CachedAnswer).values(expires_at=utc_now() - timedelta(seconds=1))
    await database.write(lambda session: session.execute(past))
    third = cached_gateway(upstream, database)
    assert not (await third.complete(KEPT)).receipt.cached
    await other.close()
    await third.close()


async def test_what_has_expired_is_forgotten(gateway: Gateway, database: Database) -> None:
    await gateway.complete(KEPT)
    await gateway.complete(replace(KEPT, spender=OTHER_PERSON))
    await gateway.close()
    past = update(CachedAnswer).values(expires_at=utc_now() - timedelta(seconds=1))
    await database.write(lambda session: session.execute(past.where(CachedAnswer.user_id == "ben")))
    await database.write(forget_expired)
    count = select(func.count()).select_from(CachedAnswer)
    assert await database.read(lambda session: session.scalar(count)) == 1


@pytest.mark.parametrize("fault", ["cut", "500"])
async def test_what_is_no_whole_answer_is_not_kept(fault: str, gateway: Gateway, upstream: ProtocolServer) -> None:
    upstream.set_default(fault)
    call = replace(KEPT, is_queued=True, models=(MODEL,))
    for _ in range(2):
        await asyncio.gather(gateway.complete(call), return_exceptions=True)
    assert len(upstream.calls) == 2


async def test_an_answer_of_a_fallback_is_kept_under_its_own_name(gateway: Gateway, upstream: ProtocolServer) -> None:
    upstream.script("404", model="gpt-4o-mini")
    await gateway.complete(KEPT)
    again = await gateway.complete(KEPT)
    assert (again.receipt.model, again.receipt.cached) == (MODEL, False)
    assert (await gateway.complete(replace(KEPT, models=(SECOND,)))).receipt.cached


async def test_a_hundred_equal_calls_at_once_are_one(gateway: Gateway, upstream: ProtocolServer) -> None:
    await gateway.complete(chat("To be warm."))
    upstream.reset()
    answers = await asyncio.gather(*[gateway.complete(KEPT) for _ in range(100)])
    assert len(upstream.calls) == 1
    assert len({answer.content for answer in answers}) == 1
    assert sum(answer.receipt.cached for answer in answers) == 99
    assert gateway.cache.counts["shared"] + gateway.cache.counts["hits"] == 99


async def test_a_fault_is_shared_and_not_met_a_hundred_times(gateway: Gateway, upstream: ProtocolServer) -> None:
    await gateway.complete(chat("To be warm."))
    upstream.reset()
    upstream.set_default("latency=0.2+500")
    call = replace(KEPT, is_queued=True, models=(MODEL,))
    outcomes = await asyncio.gather(*[gateway.complete(call) for _ in range(100)], return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {LLMUnreachable}
    assert len({id(outcome) for outcome in outcomes}) == 100
    assert len(upstream.calls) == 1


async def test_a_fault_of_any_kind_is_shared(gateway: Gateway, upstream: ProtocolServer) -> None:
    outcomes: list[object] = []
    slot = Slot("key", "chat", None, 60)

    async def fly() -> Kept:
        await clock.sleep(0)
        raise LLMBadRequest("Not so.", field="models")

    async def ask() -> None:
        with pytest.raises(LLMBadRequest) as caught:
            await gateway.cache.through(slot, fly, clock.local_seconds() + 10)
        outcomes.append((caught.value.explain(), caught.value.field))

    await asyncio.gather(ask(), ask(), ask())
    assert outcomes == [("Not so.", "models")] * 3


async def test_a_spent_budget_is_the_first_ones_own_and_the_next_one_asks(
    gateway: Gateway, database: Database, upstream: ProtocolServer
) -> None:
    nothing = Budget(Scope.USER, "ann", Period.DAY, Decimal(0))
    await database.write(lambda session: replace_budgets(session, [nothing], []))
    shared = replace(KEPT, cache=CacheScope.SHARED)
    others = [replace(shared, spender=OTHER_PERSON) for _ in range(3)]
    answers = await asyncio.gather(*map(gateway.complete, [shared, shared, *others]), return_exceptions=True)
    assert [type(answer) for answer in answers] == [LLMBudgetExceeded] * 2 + [Completion] * 3
    assert len(upstream.calls) == 1


async def test_when_the_first_one_leaves_the_next_one_asks(gateway: Gateway, upstream: ProtocolServer) -> None:
    await gateway.complete(chat("To be warm."))
    upstream.reset()
    upstream.script("hang_headers")
    calls = [asyncio.create_task(gateway.complete(KEPT)) for _ in range(5)]
    async with asyncio.timeout(5):
        while not upstream.calls:
            await asyncio.to_thread(upstream.wait_idle, 0.01)
    calls[0].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(isinstance(answer, Completion) for answer in answers[1:])
    assert len(upstream.calls) == 2


async def test_who_has_less_time_waits_no_longer_for_another_ones_call(
    gateway: Gateway, upstream: ProtocolServer
) -> None:
    await gateway.complete(chat("To be warm."))
    upstream.script("latency=1")
    patient = asyncio.create_task(gateway.complete(KEPT))
    async with asyncio.timeout(5):
        while len(upstream.calls) < 2:
            await asyncio.to_thread(upstream.wait_idle, 0.01)
    hurried: Call = replace(KEPT, deadline_seconds=0.2)
    with pytest.raises(LLMError):
        await gateway.complete(hurried)
    assert not (await patient).receipt.cached


async def test_without_a_database_answers_are_kept_in_memory(upstream: ProtocolServer) -> None:
    gateway = cached_gateway(upstream, None)
    await gateway.complete(KEPT)
    assert (await gateway.complete(KEPT)).receipt.cached
    await gateway.close()
