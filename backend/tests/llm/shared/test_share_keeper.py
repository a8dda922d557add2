"""A process's side of shared limits: shares that end, a database that is away, and limits that change."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from app import clock
from app.database import Database
from app.llm.traffic.limits import Limits, Turnstile, Turnstiles, Unit
from app.llm.traffic.shared.share_keeper import Pace, SharedLimits
from app.llm.traffic.shared.traffic_model import LLMShare
from tests.llm.shared.peers import until
from tests.llm.shared.test_shared_gates import Flaky, flaky
from tests.llm.test_gate import Hands

T = TypeVar("T")
NAME = "openai"
QUICK = Pace(minute_seconds=0.5, lease_seconds=0.3)


@asynccontextmanager
async def sharing(database: Database, pace: Pace = QUICK) -> AsyncIterator[tuple[SharedLimits, Turnstiles]]:
    limits = SharedLimits(database, pace)
    async with limits.running():
        yield limits, Turnstiles(clock.local_seconds, minute_seconds=pace.minute_seconds, sharing=limits)


async def rows(database: Database) -> int:
    return len(await database.read(lambda session: session.scalars(select(LLMShare.unit)).all()))


async def test_a_share_is_used_no_longer_than_its_lease() -> None:
    hands = Hands()
    turnstile = Turnstile(Limits(requests_per_minute=10), hands)
    turnstile.hold({Unit.REQUESTS: 5}, until=hands.now + 15)
    (await turnstile.enter(0)).left()
    hands.now += 15
    waiting = asyncio.create_task(turnstile.enter(0))
    await asyncio.to_thread(lambda: None)
    assert turnstile.waiting == 1 and turnstile.lacks_share
    turnstile.hold({Unit.REQUESTS: 5}, until=hands.now + 15)
    assert (await waiting) is not None


async def test_what_ends_while_others_wait_leaves_the_share_at_once() -> None:
    hands = Hands()
    turnstile = Turnstile(Limits(requests_per_minute=10, tokens_per_minute=100), hands)
    turnstile.hold({Unit.REQUESTS: 2, Unit.TOKENS: 100}, is_tight=True)
    first = await turnstile.enter(40)
    first.left()
    first.end(tokens=10)
    assert turnstile.shares() == {Unit.REQUESTS: 2, Unit.TOKENS: 70}
    hands.now += 61
    assert turnstile.demands()[Unit.REQUESTS].used == 0
    assert turnstile.shares() == {Unit.REQUESTS: 1, Unit.TOKENS: 60}


async def test_who_waits_for_a_place_asks_for_no_share() -> None:
    turnstile = Turnstile(Limits(requests_per_minute=100, max_concurrency=2), Hands())
    for _ in range(2):
        await turnstile.enter(0)
    waiting = [asyncio.create_task(turnstile.enter(0)) for _ in range(5)]
    await asyncio.to_thread(lambda: None)
    demand = turnstile.demands()[Unit.REQUESTS]
    assert (demand.used, demand.waiting, demand.head, turnstile.lacks_share) == (2, 0, 0, False)
    for call in waiting:
        call.cancel()


async def test_a_large_one_goes_only_where_the_whole_limit_is_held() -> None:
    turnstile = Turnstile(Limits(tokens_per_minute=100), Hands())
    turnstile.hold({Unit.TOKENS: 90})
    large = asyncio.create_task(turnstile.enter(500))
    await asyncio.to_thread(lambda: None)
    assert turnstile.demands()[Unit.TOKENS].head == 100 and turnstile.lacks_share
    turnstile.hold({Unit.TOKENS: 100})
    assert await large is not None


async def test_while_the_database_is_away_the_process_goes_on_by_itself_and_says_so(database_url: str) -> None:
    async with flaky(database_url) as database, sharing(database) as (limits, turnstiles):
        database.is_away = True
        turnstile = turnstiles.of(NAME, Limits(requests_per_minute=3))
        with capture_logs() as lines:
            tickets = [await asyncio.wait_for(turnstile.enter(0), 5) for _ in range(3)]
            assert [line["event"] for line in lines] == ["limits.on_its_own"]
        state = limits.state_of(NAME)
        assert state is not None and not state.is_shared
        late = asyncio.create_task(turnstile.enter(0))
        await asyncio.to_thread(lambda: None)
        assert turnstile.waiting == 1
        for ticket in tickets:
            ticket.left()
            ticket.end()
        (await asyncio.wait_for(late, 5)).end()
        with capture_logs() as lines:
            database.is_away = False
            await until(lambda: bool(lines))
        assert [line["event"] for line in lines] == ["limits.shared_again"]
        assert limits.state_of(NAME).is_shared  # type: ignore[union-attr]  # it has one


class Broken(Flaky):
    """A fault that nobody foresaw."""

    async def write(self, work: Callable[[Session], T]) -> T:
        if self.is_away:
            raise RuntimeError("moody")
        return await Database.write(self, work)


async def test_no_fault_of_a_visit_makes_calls_wait_for_ever(database_url: str) -> None:
    database = Broken(database_url)
    await database.start()
    database.is_away = True
    async with sharing(database) as (_, turnstiles):
        with capture_logs() as lines:
            await asyncio.wait_for(turnstiles.of(NAME, Limits(requests_per_minute=3)).enter(0), 5)
        assert [line["event"] for line in lines] == ["limits.on_its_own"]
    await database.close()


class Stalled(Flaky):
    """Each write takes until it is let go, however short those who wait for it are."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.writes, self.may_go = 0, asyncio.Event()

    async def write(self, work: Callable[[Session], T]) -> T:
        self.writes += 1
        await self.may_go.wait()
        return await Database.write(self, work)


async def test_while_a_visit_is_under_way_nobody_enters(database_url: str) -> None:
    """It may end with a smaller share."""
    database = Stalled(database_url)
    await database.start()
    database.may_go.set()
    async with sharing(database) as (limits, turnstiles):
        turnstile = turnstiles.of(NAME, Limits(requests_per_minute=10))
        await turnstile.enter(0)
        database.may_go.clear()
        limits._keepers[NAME].review()
        await until(lambda: database.writes == 2)
        waiting = asyncio.create_task(turnstile.enter(0))
        await asyncio.to_thread(lambda: None)
        assert turnstile.waiting == 1
        database.may_go.set()
        assert await waiting is not None
    await database.close()


async def test_while_an_old_visit_may_yet_be_committed_there_is_no_newer_one(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.llm.traffic.shared.share_keeper._LONGEST_VISIT_SECONDS", 0.01)
    database = Stalled(database_url)
    await database.start()
    async with sharing(database) as (limits, turnstiles):
        with capture_logs() as lines:
            await asyncio.wait_for(turnstiles.of(NAME, Limits(requests_per_minute=3)).enter(0), 5)
            assert [line["event"] for line in lines] == ["limits.on_its_own"]
            keeper = limits._keepers[NAME]
            assert not await keeper._visit() and database.writes == 1
            monkeypatch.undo()
            database.may_go.set()
            await until(lambda: keeper.state().is_shared)
    await database.close()


async def test_in_an_outage_shorter_than_the_lease_nothing_more_than_the_share_is_used(database_url: str) -> None:
    async with flaky(database_url) as database, sharing(database, Pace(0.5, 60)) as (limits, turnstiles):
        turnstile = turnstiles.of(NAME, Limits(requests_per_minute=10))
        await turnstile.enter(0)
        database.is_away = True
        calls = [asyncio.create_task(turnstile.enter(0)) for _ in range(9)]
        await until(lambda: turnstile.waiting > 0 and not limits._keepers[NAME]._is_visiting)
        assert turnstile.inside <= 1 + 2
        database.is_away = False
        await asyncio.wait_for(asyncio.gather(*calls), 10)
        assert turnstile.inside == 10


async def test_who_calls_no_more_has_no_share_and_asks_nothing(database: Database) -> None:
    async with sharing(database) as (limits, turnstiles):
        turnstile = turnstiles.of(NAME, Limits(requests_per_minute=3))
        ticket = await turnstile.enter(0)
        assert await rows(database) == 1
        ticket.left()
        ticket.end()
        await until(lambda: limits._keepers[NAME]._patience() is None)
        assert await rows(database) == 0


async def test_limits_that_are_changed_are_shared_as_they_are_now(database: Database) -> None:
    async with sharing(database) as (limits, turnstiles):
        turnstile = turnstiles.of(NAME, Limits(requests_per_minute=5))
        await turnstile.enter(0)
        turnstiles.of(NAME, Limits(tokens_per_minute=50))
        await turnstile.enter(30)
        assert turnstile.shares() == {Unit.TOKENS: 40}
        turnstiles.of(NAME, Limits())
        await until(lambda: not limits._keepers[NAME]._taken.shares)
        assert await rows(database) == 0
        for _ in range(3):
            await turnstile.enter(10**6)


async def test_what_is_not_used_is_given_back_at_the_end(database: Database) -> None:
    async with sharing(database, Pace()) as (_, turnstiles):
        ticket = await turnstiles.of(NAME, Limits(requests_per_minute=50)).enter(0)
        ticket.left()
    (row,) = await database.read(lambda session: session.scalars(select(LLMShare)).all())
    assert (row.share, row.used, row.waiting) == (1, 1, 0)


@pytest.mark.parametrize("calls", [0, 1])
async def test_who_holds_nothing_leaves_without_a_word(database: Database, calls: int) -> None:
    async with sharing(database) as (_, turnstiles):
        for _ in range(calls):
            (await turnstiles.of(NAME, Limits(requests_per_minute=50)).enter(0)).end()
    assert await rows(database) == 0
    late = Turnstiles(clock.local_seconds, sharing=SharedLimits(database))
    (await late.of(NAME, Limits(requests_per_minute=1)).enter(0)).end()
