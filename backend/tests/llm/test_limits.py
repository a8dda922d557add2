"""The queue before a provider: never more than its limits in any minute, first come first served, nothing fails."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import LLMRateLimited
from app.llm.call import Completion
from app.llm.traffic import limits as limits_module
from app.llm.traffic.limits import Limits, Ticket, Turnstile, Turnstiles
from app.llm.traffic.window import SlidingMinute
from tests.llm.gateway_calls import chat, door
from tests.llm.test_gate import Hands
from tests.protocol_server.server import ProtocolServer


@given(
    st.integers(1, 8),
    st.lists(
        st.tuples(st.floats(0, 40), st.integers(1, 4), st.floats(0, 5)),
        max_size=40,
    ),
)
def test_in_no_minute_is_there_more_than_the_limit(limit: int, wishes: list[tuple[float, int, float]]) -> None:
    window, now = SlidingMinute(limit), 0.0
    arrivals: list[tuple[float, int]] = []
    for pause, amount, way in wishes:
        now += pause
        if amount <= limit and window.fits(amount, now):
            entry = window.take(amount)
            now += way  # until it leaves, nobody knows when it will count
            window.left(entry, now)
            arrivals.append((now, amount))
    for begin, _ in arrivals:
        assert sum(amount for at, amount in arrivals if begin <= at < begin + 60) <= limit


def test_what_has_not_left_yet_counts_until_it_has() -> None:
    window = SlidingMinute(1)
    entry = window.take(1)
    assert not window.fits(1, 1000)
    assert window.seconds_until_change(1000) is None
    window.left(entry, 1000)
    assert not window.fits(1, 1060)
    assert window.seconds_until_change(1000) == 60.25
    assert window.fits(1, 1061)


def test_what_never_left_counts_no_longer() -> None:
    window = SlidingMinute(1)
    entry = window.take(1)
    window.give_back(entry)
    window.give_back(entry)
    window.left(entry, 0)
    assert window.fits(1, 0)


def test_a_count_is_corrected_when_it_is_known() -> None:
    window = SlidingMinute(100)
    entry = window.take(90)
    window.left(entry, 0)
    assert not window.fits(20, 1)
    window.correct(entry, 10)
    assert window.fits(90, 1)
    assert window.fits(100, 61)
    window.correct(entry, 50)
    assert window.fits(100, 61)


def test_what_is_larger_than_the_limit_goes_alone() -> None:
    window = SlidingMinute(10)
    assert window.fits(11, 0)
    window.left(window.take(1), 0)
    assert not window.fits(11, 1)


async def others_run() -> None:
    """What is ready to run has run when this returns."""
    await asyncio.to_thread(lambda: None)


def turnstile(hands: Hands, **limits: int) -> Turnstile:
    return Turnstile(Limits(**limits), hands)


async def test_without_limits_nobody_waits() -> None:
    gate = turnstile(Hands())
    tickets = [await gate.enter(10**9) for _ in range(1000)]
    assert gate.inside == len(tickets)


async def test_places_are_given_in_the_order_of_arrival() -> None:
    gate, served = turnstile(Hands(), max_concurrency=1), list[int]()
    first = await gate.enter(0)

    async def call(number: int) -> None:
        ticket = await gate.enter(0)
        served.append(number)
        ticket.left()
        ticket.end()

    calls = [asyncio.create_task(call(number)) for number in range(5)]
    await others_run()
    assert gate.waiting == 5
    first.end()
    await asyncio.gather(*calls)
    assert served == [0, 1, 2, 3, 4]
    assert gate.inside == 0


async def test_a_small_one_does_not_overtake_a_large_one() -> None:
    gate = turnstile(Hands(), tokens_per_minute=100)
    first = await gate.enter(60)
    large = asyncio.create_task(gate.enter(80))
    await others_run()
    small = asyncio.create_task(gate.enter(10))
    await others_run()
    assert gate.waiting == 2
    first.end()  # it never left
    assert [type(ticket) for ticket in await asyncio.gather(large, small)] == [Ticket, Ticket]


async def test_who_stops_waiting_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = turnstile(Hands(), max_concurrency=1)
    first = await gate.enter(0)
    waiting = asyncio.create_task(gate.enter(0))
    after = asyncio.create_task(gate.enter(0))
    await others_run()
    waiting.cancel()
    await others_run()
    assert gate.waiting == 1
    first.end()
    (await after).end()
    assert gate.inside == 0


async def test_who_is_cancelled_when_just_let_in_gives_the_place_back() -> None:
    gate = turnstile(Hands(), max_concurrency=1)
    first = await gate.enter(0)
    waiting = asyncio.create_task(gate.enter(0))
    await others_run()
    first.end()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert gate.inside == 0


async def test_a_full_queue_refuses_with_the_time_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "_LONGEST_QUEUE", 1)
    gate = turnstile(Hands(), requests_per_minute=1)
    (await gate.enter(0)).left()
    waiting = asyncio.create_task(gate.enter(0))
    await others_run()
    with pytest.raises(LLMRateLimited) as caught:
        await gate.enter(0)
    assert caught.value.retry_after_seconds == 60.25
    waiting.cancel()


async def test_new_limits_hold_at_once() -> None:
    hands = Hands()
    queues = Turnstiles(hands)
    gate = queues.of("openai", Limits(max_concurrency=1))
    await gate.enter(0)
    waiting = asyncio.create_task(gate.enter(0))
    await others_run()
    assert queues.load_of("openai") == (1, 1)
    assert queues.of("openai", Limits(max_concurrency=2)) is gate
    await waiting
    assert queues.of("openai", Limits(max_concurrency=2)).inside == 2
    assert queues.load_of("other") == (None, None)


@pytest.mark.slow
async def test_at_ten_times_the_limit_the_upstream_never_sees_more_and_nothing_fails(
    upstream: ProtocolServer,
) -> None:
    limit, minute = 10, 1.0
    async with door(upstream, limits={"requests_per_minute": limit}) as gateway:
        await gateway.complete()
        gateway.gateway.turnstiles = Turnstiles(time.monotonic, minute_seconds=minute)
        upstream.reset()
        calls = [gateway.complete(chat(f"Question {number}", deadline_seconds=60)) for number in range(50)]
        answers = await asyncio.gather(*calls)
    assert all(isinstance(answer, Completion) for answer in answers)
    arrivals = [call.arrived_monotonic for call in upstream.calls]
    assert len(arrivals) == 50
    for begin in arrivals:
        assert sum(begin <= at < begin + minute for at in arrivals) <= limit


async def test_who_waits_past_the_deadline_is_told_of_the_limit_and_blames_nobody(upstream: ProtocolServer) -> None:
    async with door(upstream, limits={"max_concurrency": 1}) as gateway:
        upstream.script("hang_headers")
        holder = asyncio.create_task(gateway.complete(chat(deadline_seconds=60)))
        while not upstream.calls:
            await asyncio.to_thread(upstream.wait_idle, 0.01)
        started = time.monotonic()
        assert isinstance(await gateway.complete(chat(deadline_seconds=0.5)), LLMRateLimited)
        assert time.monotonic() - started < 0.6
        assert gateway.gateway.breaker.status()[0].faults_in_a_row == 0
        assert len(upstream.calls) == 1
        traffic = gateway.gateway.traffic_of("openai")
        assert (traffic.in_flight, traffic.waiting) == (1, 0)
        holder.cancel()
        await asyncio.gather(holder, return_exceptions=True)
        assert gateway.gateway.traffic_of("openai").in_flight == 0
