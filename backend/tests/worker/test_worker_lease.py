"""How a worker holds its rows and lets them go: leases, beats, deadlines and stopping."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from app import clock
from app.announcements import ANYTHING, News, Noticeboard
from app.clock import utc_now
from app.errors import LeaseLost
from app.items.item import ItemStatus
from app.worker.cycle import Cycle
from tests.worker.vault import Gate, Running, Vault, until

FOREVER = 60


async def test_a_stop_lets_what_is_in_flight_end(vault: Vault, running: Running) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = running()
    item_id = await vault.post()
    await gate.reached.wait()
    worker.stop()
    later = await vault.post("posted after the stop")
    gate.open.set()
    await until(lambda: not worker.in_flight)
    assert await vault.status(item_id) == ItemStatus.READY_TO_CONFIRM
    assert (await vault.item(later)).attempt == 0


async def test_a_stop_is_over_with_the_last_that_was_in_flight(vault: Vault) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = vault.worker(poll_seconds=FOREVER, drain_seconds=FOREVER)
    running = asyncio.create_task(worker.run())
    await vault.post()
    await gate.reached.wait()
    worker.stop()
    gate.open.set()
    await asyncio.wait_for(running, 3)


async def test_what_outlasts_the_drain_goes_back_to_the_queue_with_its_attempt(vault: Vault, running: Running) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = running(drain_seconds=0)
    item_id = await vault.post()
    await gate.reached.wait()
    worker.stop()
    await until(lambda: not worker.in_flight)
    item = await vault.item(item_id)
    assert (item.status, item.attempt, item.lease_owner) == (ItemStatus.ENRICHING, 0, None)
    assert await vault.outcomes(item_id) == ["CANCELLED"]


async def test_the_beat_extends_leases_and_cancels_what_was_lost(vault: Vault, running: Running) -> None:
    kept, lost = Gate(), Gate()
    vault.provider.behaviours = [kept, lost]
    worker = running()
    first = await vault.post("kept")
    await kept.reached.wait()
    second = await vault.post("lost")
    await lost.reached.wait()
    before = (await vault.item(first)).lease_until
    await vault.set(second, status="DISCARDED", claim_seq=99, lease_owner=None, lease_until=None)
    await worker._beat()
    await until(lambda: worker.in_flight <= 1)
    renewed = (await vault.item(first)).lease_until
    assert renewed is not None
    assert before is not None
    assert renewed > before
    assert await vault.outcomes(second) == ["CANCELLED"]
    kept.open.set()


async def test_a_paused_worker_spends_nothing_after_its_lease_ran_out(vault: Vault) -> None:
    item_id = await vault.post()
    worker = vault.worker(lease_seconds=0.000001)
    await worker._cycle()
    await until(lambda: worker._endings)
    worker.stop()
    await worker._cycle()
    assert vault.provider.calls == []
    assert await vault.outcomes(item_id) == ["UNUSED"]


async def test_a_lease_lost_before_the_call_ends_the_run_without_a_write(vault: Vault) -> None:
    item_id = await vault.post()
    vault.provider.behaviours = [LeaseLost()]
    worker = vault.worker()
    await worker.run_once()
    assert await vault.actions(item_id) == ["create"]


async def test_a_call_past_the_lanes_deadline_is_a_timeout(vault: Vault) -> None:
    item_id = await vault.post()
    lane = vault.lane()
    lane.deadline_seconds = 0.01
    vault.provider.behaviours = [Gate(), Gate()]
    worker = vault.worker()
    worker._lane = lane
    await worker.run_once()
    assert ((await vault.item(item_id)).enrichment_error or "").startswith("LLM_TIMEOUT")


async def test_a_worker_that_was_away_for_longer_than_its_lease_keeps_the_rows_it_still_works_on(vault: Vault) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    item_id = await vault.post()
    worker = vault.worker()
    await worker._cycle()
    await gate.reached.wait()
    await vault.expire_lease(item_id)
    next(iter(worker._jobs.values())).lease_ends = 0
    await worker._cycle()
    gate.open.set()
    await worker.run_once()
    assert (await vault.item(item_id)).deaths == 0
    assert await vault.outcomes(item_id) == ["OK"]


async def test_a_second_signal_cuts_the_drain_short(vault: Vault, running: Running) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = running(drain_seconds=FOREVER)
    item_id = await vault.post()
    await gate.reached.wait()
    worker.stop()
    assert worker.in_flight == 1
    worker.stop(at_once=True)
    await until(lambda: not worker.in_flight)
    assert await vault.status(item_id) == ItemStatus.ENRICHING


async def test_a_call_that_will_not_end_is_no_longer_kept_alive_by_the_beat(vault: Vault, running: Running) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = running()
    item_id = await vault.post()
    await gate.reached.wait()
    before = (await vault.item(item_id)).lease_until
    next(iter(worker._jobs.values())).overdue_at = 0
    await worker._beat()
    assert (await vault.item(item_id)).lease_until == before
    gate.open.set()


async def test_news_of_other_items_leave_a_call_alone(vault: Vault, running: Running) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = running()
    item_id = await vault.post()
    await gate.reached.wait()
    vault.database.noticeboard.publish(News(stopped={"another"}))
    gate.open.set()
    await until(lambda: not worker.in_flight)
    assert await vault.status(item_id) == ItemStatus.READY_TO_CONFIRM


async def test_a_stopping_worker_looks_up_when_its_drain_is_over(vault: Vault) -> None:
    worker = vault.worker(drain_seconds=1, poll_seconds=FOREVER)
    worker.stop()
    assert worker._patience() <= 1


async def test_a_beat_without_rows_writes_nothing(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = asyncio.Event()
    waited: list[float] = []

    async def turn(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            turns.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(clock, "sleep", turn)
    beating = asyncio.create_task(vault.worker(lease_seconds=8)._beat_forever())
    await turns.wait()
    beating.cancel()
    assert waited == [2, 2, 2]


async def test_a_worker_looks_up_when_a_closed_provider_opens(vault: Vault) -> None:
    vault.provider.opens_in = 3
    assert vault.worker(poll_seconds=FOREVER)._patience() == 3


async def test_news_reach_the_others_when_one_listener_fails() -> None:
    heard: list[News] = []

    def fail(_news: News) -> None:
        raise RuntimeError

    board = Noticeboard()
    board.subscribe(fail)
    board.subscribe(heard.append)
    board.publish(ANYTHING)
    assert heard == [ANYTHING]


async def test_what_has_just_come_in_is_claimed_before_the_sweep(vault: Vault) -> None:
    worker = vault.worker()
    swept = []
    cycle = worker._cycle

    async def watched(*, sweep: bool = True, **others: Any) -> Cycle | None:
        swept.append(sweep)
        return await cycle(sweep=sweep, **others)

    worker._cycle = watched  # type: ignore[method-assign]
    running = asyncio.create_task(worker.run())
    await until(lambda: worker._sweep_at > 0)
    worker._sweep_at = 0
    await vault.post()
    await until(lambda: len(swept) > 2)
    assert swept[:3] == [True, False, True]
    worker.stop()
    await running


async def test_a_sweep_is_put_off_once_and_not_for_as_long_as_something_comes_in(vault: Vault) -> None:
    vault.llm.concurrency = 1
    worker, gates = vault.worker(), [Gate(), Gate(), Gate()]
    vault.provider.behaviours = list(gates)
    await vault.post()
    running = asyncio.create_task(worker.run())
    await gates[0].reached.wait()
    deferred = await vault.post("was deferred, and is due")
    await vault.set(deferred, not_before=utc_now() - timedelta(seconds=1))
    worker._sweep_at = 0
    for before, after in pairwise(gates):
        await vault.post("has just come in")
        worker._has_news = True  # at the very moment when the slot becomes free
        before.open.set()
        await after.reached.wait()
    assert "was deferred, and is due" in vault.provider.calls
    gates[-1].open.set()
    worker.stop()
    await running


async def test_long_calls_begin_in_groups(vault: Vault) -> None:
    vault.llm.concurrency = 40
    for _ in range(40):
        await vault.post()
    worker = vault.worker()
    worker._is_brief = False
    groups: list[int] = []
    cycle = worker._cycle

    async def watched(**how: Any) -> Cycle | None:
        done = await cycle(**how)
        groups.append(len(done.claimed) if done else 0)
        return done

    worker._cycle = watched  # type: ignore[method-assign]
    gates = [Gate() for _ in range(40)]
    vault.provider.behaviours = list(gates)
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.in_flight == 40)
    assert groups == [16, 16, 8]
    for gate in gates:
        gate.open.set()
    worker.stop()
    await running


async def test_a_call_that_ran_out_of_time_is_cut_off_though_the_worker_never_pauses(vault: Vault) -> None:
    await vault.post("hangs")
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = vault.worker()
    await worker._cycle()
    await gate.reached.wait()
    job = next(iter(worker._jobs.values()))
    job.ends_by = 0
    await worker._cycle()  # as when something else ends in each cycle
    assert job.cancelled_as is not None
    await worker.run_once()


async def test_a_call_that_is_cut_off_is_named_in_the_log(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    item_id = await vault.post()
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = vault.worker()
    await worker._cycle()
    await gate.reached.wait()
    next(iter(worker._jobs.values())).ends_by = 0
    caplog.set_level("WARNING", logger="app")
    worker._end_overdue()
    said: list[Any] = [record.msg for record in caplog.records]
    assert [(line["event"], line["item_id"]) for line in said] == [("item.deferred", item_id)]
    await worker.run_once()


async def test_a_call_that_ran_out_of_time_is_cut_off_once(vault: Vault) -> None:
    item_id = await vault.post()
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = vault.worker()
    await worker._cycle()
    await gate.reached.wait()
    job = next(iter(worker._jobs.values()))
    job.ends_by = 0
    worker._end_overdue()
    first = job.cancelled_as
    worker._end_overdue()
    assert first is not None and job.cancelled_as is first
    await until(job.task.done)
    await worker.run_once()
    assert await vault.outcomes(item_id) == ["CANCELLED", "OK"]
