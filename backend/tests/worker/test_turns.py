"""A worker's transactions on many rows take turns: two at once would lock the rows in different orders."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy.orm import Session

from app import clock
from app.database import Database
from app.worker import lease
from app.worker.cycle import run_cycle
from tests.worker.vault import Running, Vault, until

T = TypeVar("T")


class CountingDatabase(Database):
    """Counts how many of the worker's transactions on many rows are under way."""

    under_way = most = beats = 0

    async def write(self, work: Callable[[Session], T]) -> T:
        if not isinstance(work, partial) or work.func not in (run_cycle, lease.beat):
            return await super().write(work)
        self.beats += work.func is lease.beat
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await super().write(work)
        finally:
            self.under_way -= 1


async def test_a_beat_and_a_cycle_never_write_at_the_same_time(vault: Vault, running: Running) -> None:
    for number in range(40):
        await vault.post(f"Note {number}.")
    database = vault.database
    database.__class__ = CountingDatabase
    assert isinstance(database, CountingDatabase)
    vault.provider.behaviours = [partial(clock.sleep, 0.002 * number) for number in range(40)]
    worker = running(lease_seconds=0.1)
    await until(lambda: worker.counts["READY_TO_CONFIRM"] == 40)
    assert database.beats > 0
    assert database.most == 1
