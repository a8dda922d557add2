"""Several processes on one database, one limit: together never more than it in any minute, and each has its turn."""

import asyncio

import pytest
from sqlalchemy.orm import Session

from app.llm.call import Completion
from app.llm.traffic.limits import Unit
from app.llm.traffic.shared.share_book import Taken, Visit, take
from tests.llm.gateway_calls import Door, chat
from tests.llm.shared.peers import most_in_a_window, peers, until
from tests.protocol_server.answers import digest_of
from tests.protocol_server.server import ProtocolServer

MINUTE = 1.0
LIMIT = 8
CALLS = 18


def ask(door: Door, number: int, *, text: str = "Question") -> list["asyncio.Task[object]"]:
    """Each for itself, and waiting as long as it takes."""
    return [
        asyncio.create_task(door.complete(chat(f"{text} {index}", deadline_seconds=120))) for index in range(number)
    ]


async def warm(doors: list[Door], upstream: ProtocolServer) -> None:
    """What a first call costs is no part of what is measured."""
    for door in doors:
        assert isinstance(await door.complete(), Completion)
    upstream.reset()


@pytest.mark.slow
async def test_at_ten_times_the_limit_three_processes_together_keep_to_it_and_nothing_fails(
    database_url: str, upstream: ProtocolServer
) -> None:
    async with peers(3, database_url, upstream, limits={"requests_per_minute": LIMIT}, minute_seconds=MINUTE) as doors:
        await warm(doors, upstream)
        answers = await asyncio.gather(*(call for door in doors for call in ask(door, CALLS)))
    assert [answer for answer in answers if not isinstance(answer, Completion)] == []
    times = [call.arrived_monotonic for call in upstream.calls]
    assert len(times) == 3 * CALLS
    took = max(times) - min(times)
    print(f"{3 * CALLS} calls of three processes in {took:.1f} minutes; the bound is {3 * CALLS / LIMIT - 1:.1f}")
    assert most_in_a_window(times, MINUTE) <= LIMIT


async def test_tokens_are_shared_too_and_a_large_call_is_not_overtaken_for_ever(
    database_url: str, upstream: ProtocolServer
) -> None:
    limits = {"tokens_per_minute": 500}
    async with peers(2, database_url, upstream, limits=limits, minute_seconds=MINUTE) as doors:
        await warm(doors, upstream)
        large = chat("Large " * 100, deadline_seconds=60)
        answers = await asyncio.gather(doors[1].complete(large), *(call for door in doors for call in ask(door, 4)))
    assert [answer for answer in answers if not isinstance(answer, Completion)] == []
    calls = upstream.calls
    for first in calls:
        begin = first.arrived_monotonic
        minute = [call for call in calls if begin <= call.arrived_monotonic < begin + MINUTE]
        assert sum(call.billed_input_tokens + call.billed_output_tokens for call in minute) <= 500


async def test_who_came_before_others_in_another_process_goes_before_them(
    database_url: str, upstream: ProtocolServer
) -> None:
    async with peers(2, database_url, upstream, limits={"requests_per_minute": 6}, minute_seconds=MINUTE) as doors:
        await warm(doors, upstream)
        busy, other = doors
        calls = ask(busy, 12, text="Early")
        await until(lambda: len(upstream.calls) >= 4)
        (between,) = ask(other, 1, text="Between")
        await until(lambda: between.done() or other.gateway.traffic_of("openai").waiting == 1)
        calls += [between, *ask(busy, 18, text="Late")]
        assert all(isinstance(answer, Completion) for answer in await asyncio.gather(*calls))
    order = [call.text_sha256 for call in upstream.calls]
    assert order.index(digest_of("Between 0")) <= 12 + 6


async def test_what_is_held_in_reserve_is_given_up_when_another_process_waits(
    database_url: str, upstream: ProtocolServer
) -> None:
    limits = {"requests_per_minute": 10}
    async with peers(2, database_url, upstream, limits=limits, minute_seconds=60) as doors:
        assert isinstance(await doors[0].complete(), Completion)
        assert shares_of(doors[0]) == (1 + 2, 1)
        answers = await asyncio.gather(*ask(doors[1], 9))
        assert all(isinstance(answer, Completion) for answer in answers)
        assert len(upstream.calls) == 10
        assert (shares_of(doors[0])[0], shares_of(doors[1])) == (1, (9, 2))


async def test_one_process_asks_the_database_once_for_many_calls(
    database_url: str, upstream: ProtocolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits: list[Visit] = []

    def counted(session: Session, visit: Visit) -> Taken:
        visits.append(visit)
        return take(session, visit)

    monkeypatch.setattr("app.llm.traffic.shared.share_keeper.take", counted)
    limits = {"requests_per_minute": 1000}
    async with peers(1, database_url, upstream, limits=limits) as (alone,):
        for _ in range(4):
            assert all(isinstance(answer, Completion) for answer in await asyncio.gather(*ask(alone, 10)))
        assert len(visits) == 1
        assert shares_of(alone) == (visits[0].demands[Unit.REQUESTS].waiting + 200, 1)


async def test_without_limits_nothing_is_asked_or_kept(database_url: str, upstream: ProtocolServer) -> None:
    async with peers(1, database_url, upstream, limits={"max_concurrency": 2}) as (alone,):
        assert isinstance(await alone.complete(), Completion)
        assert alone.gateway.traffic_of("openai").limits is None


def shares_of(door: Door) -> tuple[int | None, int]:
    """How many requests a minute are this process's, and how many processes it knows of."""
    state = door.gateway.traffic_of("openai").limits
    assert state is not None and state.is_shared
    return state.requests_held, state.processes
