"""What is kept in memory of the database is read again after each change, and no fault ends that."""

import asyncio

import pytest

from app.announcements import ANYTHING, News
from app.database import Database
from app.errors import ServiceUnavailable
from app.following import followed


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.following._SHORTEST_GAP_SECONDS", 0)


class Reader:
    """Counts its readings; `faults` are raised first."""

    def __init__(self, *faults: type[Exception]) -> None:
        self._faults = list(faults)
        self._readings: asyncio.Queue[bool] = asyncio.Queue()

    async def __call__(self) -> None:
        self._readings.put_nowait(not self._faults)
        if self._faults:
            raise self._faults.pop(0)

    async def next_is_well(self) -> bool:
        async with asyncio.timeout(5):
            return await self._readings.get()


async def test_it_is_read_before_and_after_each_change(database: Database) -> None:
    reader = Reader()
    async with followed(database, "prices", reader):
        assert await reader.next_is_well()
        for news in (News(configured={"prices"}), ANYTHING):
            database.noticeboard.publish(news)
            assert await reader.next_is_well()


async def test_other_topics_and_what_comes_after_the_end_are_no_cause(database: Database) -> None:
    reader = Reader()
    async with followed(database, "prices", reader):
        assert await reader.next_is_well()
        database.noticeboard.publish(News(ready=True, configured={"others"}))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.next_is_well(), 0.05)
    database.noticeboard.publish(ANYTHING)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.next_is_well(), 0.05)


@pytest.mark.parametrize("fault", [ServiceUnavailable, RuntimeError])
async def test_after_a_fault_it_is_read_again_without_further_news(database: Database, fault: type[Exception]) -> None:
    reader = Reader(fault, fault)
    async with followed(database, "prices", reader):
        assert [await reader.next_is_well() for _ in range(3)] == [False, False, True]


async def test_without_any_news_it_is_read_now_and_then(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.following._POLL_SECONDS", 0.01)
    reader = Reader()
    async with followed(database, "prices", reader):
        assert [await reader.next_is_well() for _ in range(3)] == [True, True, True]


async def test_a_block_that_waits_not_begins_beside_the_first_time(database: Database) -> None:
    reader, begun = Reader(), asyncio.Event()

    async def slowly() -> None:
        await begun.wait()
        await reader()

    async with asyncio.timeout(5), followed(database, "prices", slowly, waits=False):
        begun.set()
        assert await reader.next_is_well()


async def test_who_polls_at_a_pace_of_its_own_is_called_at_that(database: Database) -> None:
    reader = Reader()
    async with followed(database, "prices", reader, poll_seconds=0.01):
        assert [await reader.next_is_well() for _ in range(3)] == [True, True, True]
