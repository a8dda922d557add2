"""A vault on a fresh database, and a worker that is stopped at the end whatever the test did."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.database import Database
from app.worker.worker import Worker
from tests.worker.vault import Running, Vault


@pytest.fixture
def vault(database: Database) -> Vault:
    return Vault(database)


@pytest.fixture
async def running(vault: Vault) -> AsyncIterator[Running]:
    """Starts workers that go on by themselves; the rest of the test runs beside them."""
    workers: list[tuple[Worker, asyncio.Task[None]]] = []

    def start(**changes: Any) -> Worker:
        worker = vault.worker(**changes)
        workers.append((worker, asyncio.create_task(worker.run())))
        return worker

    yield start
    for worker, _ in workers:
        worker.stop(at_once=True)
    await asyncio.gather(*(task for _, task in workers))
