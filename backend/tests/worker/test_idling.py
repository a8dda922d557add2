"""A worker that idles looks now and then, writes nothing, and still finds what no news told it of."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import Database
from app.items.item import ItemStatus
from app.worker import lease
from tests.worker.vault import Running, Vault, until, until_true

T = TypeVar("T")
SHORT = 0.02


class WatchedDatabase(Database):
    """Counts transactions of either kind."""

    reads = writes = 0

    async def read(self, work: Callable[[Session], T]) -> T:
        self.reads += 1
        return await super().read(work)

    async def write(self, work: Callable[[Session], T]) -> T:
        self.writes += 1
        return await super().write(work)


def _watch(vault: Vault) -> WatchedDatabase:
    database = vault.database
    database.__class__ = WatchedDatabase
    assert isinstance(database, WatchedDatabase)
    return database


async def test_polls_of_an_idle_worker_write_nothing(vault: Vault, running: Running) -> None:
    database = _watch(vault)
    running(poll_seconds=SHORT)
    await until(lambda: database.reads > 5)
    assert database.writes == 1  # the first cycle, which does not look before it


async def test_a_poll_finds_a_row_of_which_no_news_came(vault: Vault, running: Running) -> None:
    item_id = await vault.post()
    await vault.set(item_id, not_before=utc_now() + timedelta(hours=1))
    database = _watch(vault)
    worker = running(poll_seconds=SHORT)
    await until(lambda: database.reads > 2)
    await vault.set(item_id, not_before=None)
    await until(lambda: worker.counts["READY_TO_CONFIRM"] == 1)


async def test_a_poll_finds_a_lease_that_ran_out_and_a_row_that_is_due(vault: Vault, running: Running) -> None:
    first, second = await vault.post("one"), await vault.post("two")
    table = vault.lane().work_table
    await vault.database.write(lambda s: lease.claim(s, table, owner="dead", lease_seconds=3600, limit=1))
    await vault.set(second, not_before=utc_now() + timedelta(hours=1))
    database = _watch(vault)
    running(poll_seconds=SHORT)
    await until(lambda: database.reads > 2)
    assert not vault.provider.calls
    await vault.expire_lease(first)
    await vault.make_due(second)

    async def are_ready() -> bool:
        return {await vault.status(item) for item in (first, second)} == {ItemStatus.READY_TO_CONFIRM}

    await until_true(are_ready)
