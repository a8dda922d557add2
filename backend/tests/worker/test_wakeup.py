"""Nothing is picked up by polling that could be announced: in the process, and between processes."""

import asyncio

from app.announcements import ANYTHING, News, Noticeboard
from app.database import Database
from app.errors import LLMRateLimited, Remedy
from app.items.item import ItemStatus
from app.newswire import Newswire
from app.worker.worker import Worker
from tests.worker.vault import Gate, Running, Vault, until

NEVER = 3600.0


async def test_a_post_wakes_the_worker_of_its_own_process(vault: Vault, running: Running) -> None:
    running(poll_seconds=NEVER)
    item_id = await vault.post()
    await until(vault.provider.called.is_set)
    await _until_ready(vault, item_id)


async def test_a_post_wakes_the_worker_of_another_process(vault: Vault, database_url: str) -> None:
    async with _Other(database_url, vault) as worker:
        item_id = await vault.post()
        await until(vault.provider.called.is_set)
        await until(lambda: not worker.in_flight)
        assert await vault.status(item_id) == ItemStatus.READY_TO_CONFIRM


async def test_a_discard_reaches_the_call_of_another_process_without_a_beat_on_postgresql(
    vault: Vault, database_url: str
) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    async with _Other(database_url, vault) as worker:
        item_id = await vault.post()
        await gate.reached.wait()
        await vault.act(item_id, "discard")
        if vault.database.is_sqlite:
            await worker._beat()  # the file tells that something changed, not what: the beat finds out
        await until(lambda: not worker.in_flight)
    assert await vault.outcomes(item_id) == ["CANCELLED"]


async def test_a_deferred_row_is_picked_up_when_it_is_due_without_a_poll(vault: Vault, running: Running) -> None:
    vault.provider.behaviours = [LLMRateLimited(retry_after_seconds=0.2, remedy=Remedy.WAIT)]
    running(poll_seconds=NEVER)
    item_id = await vault.post()
    await until(lambda: len(vault.provider.calls) == 2)
    await _until_ready(vault, item_id)


async def test_a_lease_that_runs_out_elsewhere_is_noticed_without_a_poll(vault: Vault, running: Running) -> None:
    gate = Gate()
    vault.provider.behaviours = [gate]
    item_id = await vault.post()
    dead = vault.worker(lease_seconds=0.5)
    await dead._cycle()
    await gate.reached.wait()
    running(poll_seconds=NEVER)
    await until(lambda: len(vault.provider.calls) == 2)
    await _until_ready(vault, item_id)
    gate.open.set()


async def test_what_was_committed_is_announced_though_its_caller_has_gone(vault: Vault) -> None:
    heard: list[News] = []
    vault.database.noticeboard.subscribe(heard.append)
    await vault.identity.user_id_of("ann")
    posting = asyncio.create_task(vault.post())
    await asyncio.tasks.sleep(0)
    posting.cancel()
    await until(lambda: any(news.wakes("items") for news in heard))
    assert posting.cancelled()


async def test_what_becomes_ready_in_one_table_wakes_the_worker_of_no_other(vault: Vault) -> None:
    worker = vault.worker()
    worker._hear(News(ready_in={"queries"}))
    assert not worker._wake.is_set()
    worker._hear(News(ready_in={"items"}))
    assert worker._wake.is_set()


def test_news_survive_the_wire() -> None:
    news = News(ready=True, ready_in={"items"}, users={"a"}, stopped={"b"})
    assert News.decode(news.encode("me")) == ("me", news)


def test_news_too_long_for_the_wire_say_that_anything_may_have_changed() -> None:
    payload = News(stopped={f"{n:036}" for n in range(500)}).encode("me")
    assert len(payload) < 8000
    assert News.decode(payload)[1].anything


def test_a_closing_noticeboard_tells_everybody_once_more() -> None:
    board = Noticeboard()
    heard: list[News] = []
    end = board.subscribe(heard.append)
    board.close()
    end()
    board.publish(ANYTHING)
    assert heard == [ANYTHING]
    assert board.closed


async def _until_ready(vault: Vault, item_id: str) -> None:
    while await vault.status(item_id) != ItemStatus.READY_TO_CONFIRM:
        await until(lambda: True)


class _Other:
    """A worker with a database and a newswire of its own, as another process has them."""

    def __init__(self, url: str, vault: Vault) -> None:
        self._database = Database(url)
        self._vault = vault

    async def __aenter__(self) -> Worker:
        await self._database.start()
        self._newswire = Newswire(self._database)
        heard = asyncio.Event()
        end = self._database.noticeboard.subscribe(lambda _news: heard.set())
        self._newswire.start()
        self._worker = self._vault.worker(poll_seconds=NEVER)
        self._worker._database = self._database
        self._worker._books._database = self._database
        if not self._database.is_sqlite:
            await until(heard.is_set)
        end()
        self._task = asyncio.create_task(self._worker.run())
        await asyncio.tasks.sleep(0.1)
        return self._worker

    async def __aexit__(self, *_: object) -> None:
        self._worker.stop(at_once=True)
        await self._task
        await self._newswire.close()
        await self._database.close()
