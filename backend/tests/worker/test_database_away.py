"""The database goes away in mid-work and comes back: nothing is lost, nothing is spent, and a stop still ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest
from sqlalchemy.orm import Session

from app.database import Database
from app.errors import LLMContentRefused, ServiceUnavailable
from app.items.item import ItemStatus
from app.worker import crew as crew_module
from app.worker import worker as worker_module
from app.worker.crew import Crew, CrewState
from tests.worker.vault import SETTINGS, Gate, Running, Vault, until

T = TypeVar("T")


class AwayDatabase(Database):
    """Refuses every write while `away`, as one does that cannot be reached."""

    away = False
    refused = 0

    async def write(self, work: Callable[[Session], T]) -> T:
        if self.away:
            self.refused += 1
            raise ServiceUnavailable
        return await super().write(work)


@pytest.fixture
async def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AwayDatabase]:
    monkeypatch.setattr(worker_module, "_DATABASE_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(crew_module, "_RETRY_SECONDS", 0.01)
    database = AwayDatabase(database_url)
    await database.start()
    yield database
    database.away = False
    await database.close()


async def test_an_answer_waits_for_the_database_and_is_written_then(
    vault: Vault, running: Running, database: AwayDatabase
) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = running()
    item_id = await vault.post()
    await gate.reached.wait()
    database.away = True
    gate.open.set()
    await until(lambda: database.refused > 2)
    assert worker.in_flight == 1
    database.away = False
    await until(lambda: not worker.in_flight)
    assert await vault.status(item_id) == ItemStatus.READY_TO_CONFIRM
    assert len(vault.provider.calls) == 1


async def test_no_call_leaves_that_cannot_be_put_on_the_books(vault: Vault, database: AwayDatabase) -> None:
    vault.provider.first = None
    item_id = await vault.post()
    worker = vault.worker()
    await worker._cycle()
    database.away = True
    await until(lambda: worker._endings)
    assert vault.provider.calls == []
    database.away = False
    await worker.run_once()
    assert await vault.outcomes(item_id) == []
    assert (await vault.item(item_id)).attempt == 0


async def test_a_missed_beat_is_no_end(vault: Vault, running: Running, database: AwayDatabase) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    worker = running(lease_seconds=0.4)
    item_id = await vault.post()
    await gate.reached.wait()
    database.away = True
    await until(lambda: database.refused > 0)
    database.away = False
    gate.open.set()
    await until(lambda: not worker.in_flight)
    assert await vault.status(item_id) == ItemStatus.READY_TO_CONFIRM


async def test_a_stop_ends_though_the_database_stays_away(
    vault: Vault, database: AwayDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_GIVE_UP_SECONDS", 0.05)
    vault.provider.behaviours = [LLMContentRefused()]
    await vault.post()
    worker = vault.worker(drain_seconds=0)
    task = asyncio.create_task(worker.run())
    await vault.provider.called.wait()
    database.away = True
    worker.stop()
    async with asyncio.timeout(10):
        await task
    assert worker.in_flight == 1


async def test_a_worker_whose_beat_dies_does_not_go_on(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    await vault.post()
    crew = Crew(vault.database, [vault.lane()], SETTINGS)
    worker = crew.workers[0]
    worker._settings = worker_module.WorkerSettings(lease_seconds=1)

    async def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(worker, "_beat", broken)
    crew.start()
    await until(lambda: crew.state is CrewState.DEAD)


async def test_a_crew_waits_for_the_database_to_take_back_what_was_leased(vault: Vault, database: AwayDatabase) -> None:
    database.away = True
    crew = Crew(database, [vault.lane()], SETTINGS)
    crew.start()
    await until(lambda: database.refused > 1)
    database.away = False
    await until(lambda: crew.state is CrewState.WORKING)
    crew.stop()
    await crew.wait_stopped()
