"""A gate that one process closes is closed in all, one of them probes, and what it finds out opens it in all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import pytest
from pydantic import SecretStr
from sqlalchemy import update
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from app.announcements import News
from app.database import Database
from app.errors import LLMAuthRefused, LLMError, LLMRateLimited, Remedy, ServiceUnavailable
from app.llm.call import Completion
from app.llm.traffic.gate import UNLIMITED, ProviderGate
from app.llm.traffic.shared import gate_book
from app.llm.traffic.shared.gate_keeper import SharedGates, scope_of
from app.llm.traffic.shared.traffic_model import LLMGate, time_of
from app.providers.provider import Provider, ProviderKind
from tests.llm.gateway_calls import Door, chat
from tests.llm.shared.peers import connected, peers, until
from tests.protocol_server.server import ProtocolServer
from tests.test_queries_explain import plans_of

T = TypeVar("T")
NAME = "openai"
PROVIDER = Provider(NAME, ProviderKind.OPENAI, api_key=SecretStr("sk-1"))


def is_closed(door: Door) -> bool:
    return NAME in door.gateway.gate.closed()


def is_open(door: Door) -> bool:
    return door.gateway.gate.allowance(NAME) == UNLIMITED


async def test_a_refused_key_closes_the_gate_of_every_process(database_url: str, upstream: ProtocolServer) -> None:
    async with peers(2, database_url, upstream) as (first, second):
        upstream.script("401")
        assert isinstance(await first.complete(), LLMAuthRefused)
        seconds = await until(lambda: is_closed(second), seconds=5)
        print(f"closed in the other process after {seconds:.3f} s")
        told = await second.complete()
        assert isinstance(told, LLMAuthRefused) and told.remedy is Remedy.WAIT
        assert 28 < second.gateway.gate.seconds_until_open(NAME) <= 30
        assert len(upstream.calls) == 1
        traffic = second.gateway.traffic_of(NAME)
        assert (traffic.gate.is_open, traffic.gate.code, traffic.gate.is_shared) == (False, "LLM_AUTH", True)


async def test_of_two_processes_one_probes_and_its_success_opens_both(
    database_url: str, upstream: ProtocolServer
) -> None:
    async with peers(2, database_url, upstream) as doors:
        upstream.script("429_retry_after=2")
        limited = chat(deadline_seconds=0.9)
        assert isinstance(await doors[0].complete(limited), LLMRateLimited)
        await until(lambda: is_closed(doors[1]), seconds=5)
        upstream.reset()
        upstream.script("slow_headers=1.5")
        calls = [asyncio.create_task(door.complete(chat(f"{n}"))) for n in range(5) for door in doors]
        await until(lambda: len(upstream.calls) >= 1)
        probe = upstream.calls[0]
        assert all(isinstance(answer, Completion) for answer in await asyncio.gather(*calls))
        assert all(is_open(door) for door in doors)
        assert probe.ended_monotonic is not None
        others = [call.arrived_monotonic for call in upstream.calls[1:]]
        assert len(others) == 9 and min(others) >= probe.ended_monotonic


async def test_a_process_that_starts_later_finds_the_gate_closed(database_url: str, upstream: ProtocolServer) -> None:
    async with peers(1, database_url, upstream) as (first,):
        upstream.script("401")
        await first.complete()
    async with peers(1, database_url, upstream) as (later,):
        assert is_closed(later)
        assert len(upstream.calls) == 1


async def test_another_key_opens_every_process_and_the_old_one_s_faults_close_nothing(
    database_url: str, upstream: ProtocolServer
) -> None:
    async with peers(2, database_url, upstream) as doors:
        under_way = doors[0].gateway.gate.admit(NAME)
        assert under_way is not None
        upstream.script("401")
        await doors[0].complete()
        await until(lambda: is_closed(doors[1]), seconds=5)
        for door in doors:
            door.providers[NAME] = replace(door.providers[NAME], api_key=SecretStr("sk-another"))
            door.gateway.review_providers()
        doors[0].gateway.gate.report_fault(under_way, LLMAuthRefused())
        answers = [await door.complete() for door in doors]
        assert all(isinstance(answer, Completion) for answer in answers)


async def test_other_limits_open_nothing(database_url: str, upstream: ProtocolServer) -> None:
    async with peers(1, database_url, upstream) as (door,):
        upstream.script("401")
        await door.complete()
        door.providers[NAME] = replace(door.providers[NAME], max_concurrency=3)
        door.gateway.review_providers()
        assert is_closed(door)


def test_the_scope_of_a_gate_is_name_address_and_key() -> None:
    others = [
        replace(PROVIDER, api_key=SecretStr("sk-2")),
        replace(PROVIDER, api_key=None),
        replace(PROVIDER, base_url="https://elsewhere.example"),
        replace(PROVIDER, name="other"),
        None,
    ]
    scopes = {scope_of(other.name if other else NAME, other) for other in [PROVIDER, *others]}
    assert len(scopes) == 6
    assert scope_of(NAME, PROVIDER) == scope_of(NAME, replace(PROVIDER, requests_per_minute=3))


class Flaky(Database):
    """A database that can be away."""

    is_away = False

    async def write(self, work: Callable[[Session], T]) -> T:
        if self.is_away:
            raise ServiceUnavailable
        return await super().write(work)


@asynccontextmanager
async def flaky(database_url: str) -> AsyncIterator[Flaky]:
    database = Flaky(database_url)
    await database.start()
    yield database
    await database.close()


def gates(database: Database) -> tuple[ProviderGate, SharedGates]:
    gate = ProviderGate(lambda: 1000.0)
    return gate, SharedGates(database, gate, lambda: {NAME: PROVIDER})


def refuse(gate: ProviderGate, fault: LLMError | None = None) -> None:
    admission = gate.admit(NAME)
    assert admission is not None
    gate.report_fault(admission, fault or LLMAuthRefused(http_status=401))


async def stored(database: Database) -> list[gate_book.Found]:
    return list(await database.read(lambda session: gate_book.closed_gates(session, "somebody")))


async def test_what_could_not_be_told_is_told_when_the_database_is_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.llm.traffic.shared.gate_keeper._AGAIN_SECONDS", 0.01)
    async with flaky(database_url) as database:
        gate, shared = gates(database)
        async with shared.running():
            database.is_away = True
            with capture_logs() as lines:
                refuse(gate)
                await until(lambda: bool(lines))
            assert {line["event"] for line in lines} == {"gates.not_shared"}
            assert not shared.is_shared and await shared.may_probe(NAME)
            await shared.refresh()
            assert gate.allowance(NAME) == 0
            database.is_away = False
            await until(lambda: shared.is_shared and not shared._unwritten)
        (found,) = await stored(database)
        assert (found.provider, found.closure.fault, found.closure.http_status) == (NAME, LLMAuthRefused, 401)


async def place_of(database: Database, process_id: str) -> gate_book.Place:
    return gate_book.Place(scope_of(NAME, PROVIDER), NAME, process_id)


async def claims(database: Database, process_id: str) -> bool:
    place = await place_of(database, process_id)
    return await database.write(lambda session: gate_book.claim_probe(session, place))


async def shifted(database: Database, **seconds_ago: float) -> None:
    def write(session: Session) -> None:
        now = time_of(session)
        values = {name: now - timedelta(seconds=seconds) for name, seconds in seconds_ago.items()}
        session.execute(update(LLMGate).values(**values))

    await database.write(write)


@pytest.fixture
async def closed(database: Database) -> Database:
    """With a gate whose time has come."""
    gate, shared = gates(database)
    async with shared.running():
        refuse(gate)
        await until(lambda: not shared._unwritten and shared.is_shared)
    await shifted(database, opens_at=1)
    return database


async def test_before_its_time_nobody_may_probe(database: Database, closed: Database) -> None:
    await shifted(database, opens_at=-5)
    assert not await claims(database, "a")


async def test_the_right_to_probe_is_one_s_until_it_has_told_or_died(closed: Database) -> None:
    assert await claims(closed, "a")
    assert await claims(closed, "a")
    assert not await claims(closed, "b")
    (found,) = await stored(closed)
    assert 0.5 < found.closure.seconds_until_open <= 1
    await shifted(closed, probe_until=0)
    assert await claims(closed, "b")


async def test_who_probed_in_vain_says_anew_when_and_hands_the_right_on(closed: Database) -> None:
    assert await claims(closed, "a")
    again = (await stored(closed))[0].closure
    place = await place_of(closed, "a")
    await closed.write(lambda session: gate_book.close_gate(session, place, replace(again, seconds_until_open=0)))
    assert await claims(closed, "b")


async def test_of_two_closings_the_later_end_counts(closed: Database) -> None:
    closure = (await stored(closed))[0].closure
    for process_id, seconds in (("a", 20), ("b", 5)):
        place, told = await place_of(closed, process_id), replace(closure, seconds_until_open=seconds)
        await closed.write(lambda session: gate_book.close_gate(session, place, told))  # noqa: B023 - awaited at once
    assert 19 < (await stored(closed))[0].closure.seconds_until_open <= 20


async def test_a_gate_that_another_opened_wakes_those_whose_rows_were_put_off(closed: Database) -> None:
    async with connected(closed.url.render_as_string(hide_password=False)) as database:
        gate, shared = gates(database)
        async with shared.running():
            assert gate.closed() == [NAME]
            heard: list[News] = []
            database.noticeboard.subscribe(heard.append)
            await closed.write(lambda session: gate_book.open_gate(session, scope_of(NAME, PROVIDER)))
            await until(lambda: News(ready=True) in heard, seconds=5)
            assert gate.closed() == []


async def test_a_code_that_this_release_does_not_know_is_passed_over(closed: Database) -> None:
    await closed.write(lambda session: session.execute(update(LLMGate).values(code="LLM_MOODY")))
    assert await stored(closed) == []


async def test_a_claim_finds_its_gate_by_the_key(closed: Database) -> None:
    place = await place_of(closed, "a")
    plans = await closed.write(lambda session: plans_of(session, lambda s: gate_book.claim_probe(s, place)))
    assert "pk_llm_gates" in plans or "sqlite_autoindex_llm_gates_1" in plans
