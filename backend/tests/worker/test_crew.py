"""Workers as a process runs them: one on a SQLite file, stopped for certain, and heard of when they die."""

import asyncio
import errno
from pathlib import Path

import pytest

from app.database import Database
from app.items.item import ItemStatus
from app.worker.crew import Crew, CrewState
from app.worker.worker_lock import WorkerLock, lock_path
from tests.engines import chosen_engine
from tests.worker.vault import SETTINGS, Gate, Vault, until

on_sqlite = pytest.mark.skipif(chosen_engine() != "sqlite", reason="the lock is SQLite's; PostgreSQL has leases")


async def test_a_crew_works_until_it_is_stopped(vault: Vault) -> None:
    crew = Crew(vault.database, [vault.lane()], SETTINGS)
    crew.start()
    await until(lambda: crew.state is CrewState.WORKING)
    item_id = await vault.post()
    await vault.provider.called.wait()
    crew.stop()
    await crew.wait_stopped()
    assert crew.state is CrewState.STOPPED
    assert await vault.status(item_id) == ItemStatus.READY_TO_CONFIRM


@on_sqlite
async def test_a_second_crew_stands_by_and_takes_over(vault: Vault, database_url: str) -> None:
    first = Crew(vault.database, [vault.lane()], SETTINGS)
    first.start()
    await until(lambda: first.state is CrewState.WORKING)
    other_database = Database(database_url)
    await other_database.start()
    second = Crew(other_database, [vault.lane()], SETTINGS)
    second.start()
    await until(lambda: second.state is CrewState.STANDBY)
    first.stop()
    await first.wait_stopped()
    await until(lambda: second.state is CrewState.WORKING)
    second.stop()
    await second.wait_stopped()
    await other_database.close()


@on_sqlite
async def test_whoever_gets_the_lock_takes_back_what_the_dead_one_had(vault: Vault) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    item_id = await vault.post()
    dead = vault.worker()
    await dead._cycle()
    await gate.reached.wait()
    crew = Crew(vault.database, [vault.lane()], SETTINGS)
    crew.start()
    await until(lambda: len(vault.provider.calls) == 2)
    crew.stop()
    await crew.wait_stopped()
    assert await vault.status(item_id) == ItemStatus.READY_TO_CONFIRM
    gate.open.set()


async def test_a_crew_that_dies_says_so(vault: Vault) -> None:
    lane = vault.lane()
    lane.work_table = None  # type: ignore[assignment]
    crew = Crew(vault.database, [lane], SETTINGS)
    crew.start()
    await until(lambda: crew.state is CrewState.DEAD)
    await crew.wait_stopped()


async def test_a_crew_stopped_before_it_is_ready_ends(vault: Vault) -> None:
    crew = Crew(vault.database, [vault.lane()], SETTINGS)
    crew.start()
    crew.stop()
    await asyncio.wait_for(crew.wait_stopped(), 5)
    assert crew.state is CrewState.STOPPED


async def test_a_crew_that_never_began_has_nothing_to_wait_for(vault: Vault) -> None:
    crew = Crew(vault.database, [vault.lane()], SETTINGS)
    await crew.wait_stopped()
    assert crew.state is CrewState.STARTING


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.worker.crew._RETRY_SECONDS", 0.001)


@pytest.mark.usefixtures("quick")
async def test_a_lane_that_would_not_start_is_started_again(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    async def start() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise OSError

    lane = vault.lane()
    monkeypatch.setattr(lane, "start", start)
    crew = Crew(vault.database, [lane], SETTINGS)
    crew.start()
    await until(lambda: crew.state is CrewState.WORKING)
    assert len(tries) == 3
    crew.stop()
    await crew.wait_stopped()


@pytest.mark.usefixtures("quick")
async def test_a_crew_whose_lane_never_starts_can_be_stopped(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = asyncio.Event()

    async def start() -> None:
        tried.set()
        raise OSError

    lane = vault.lane()
    monkeypatch.setattr(lane, "start", start)
    crew = Crew(vault.database, [lane], SETTINGS)
    crew.start()
    await tried.wait()
    crew.stop()
    await crew.wait_stopped()
    assert crew.state is CrewState.STOPPED


@on_sqlite
@pytest.mark.usefixtures("quick")
async def test_a_lock_that_cannot_be_made_is_tried_again(vault: Vault) -> None:
    path = vault.database.sqlite_path
    assert path is not None
    in_the_way = lock_path(path)
    in_the_way.mkdir()
    crew = Crew(vault.database, [vault.lane()], SETTINGS)
    crew.start()
    await vault.post()
    assert crew.state is CrewState.STARTING
    in_the_way.rmdir()
    await until(lambda: crew.state is CrewState.WORKING)
    crew.stop()
    await crew.wait_stopped()


def test_a_lock_that_the_file_system_refuses_is_not_taken_for_a_held_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("app.worker.worker_lock.fcntl.flock", refuse)
    with pytest.raises(OSError, match="no locks"):
        WorkerLock(tmp_path / "a.db").try_acquire()


def test_the_lock_has_one_holder(tmp_path: Path) -> None:
    first, second = WorkerLock(tmp_path / "a.db"), WorkerLock(tmp_path / "a.db")
    assert first.try_acquire()
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    first.release()
    assert second.try_acquire()
    second.release()
