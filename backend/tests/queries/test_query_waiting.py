"""Whoever waits for a query hears of its end, also when it came before the waiting."""

import asyncio

from app.announcements import News
from app.database import Database
from app.queries.waiting import Endings


async def test_the_end_of_a_new_query_is_known_without_a_look(database: Database) -> None:
    endings = Endings(database)
    waiting = asyncio.create_task(endings.wait("second", 30, is_new=True))
    database.noticeboard.publish(News(ended={"first"}))
    await database.close()  # who looks now finds nothing
    async with asyncio.timeout(5):
        await endings.wait("first", 30, is_new=True)
        database.noticeboard.publish(News(ended={"second"}))
        await waiting


async def test_a_query_of_before_is_looked_for(database: Database) -> None:
    async with asyncio.timeout(5):
        await Endings(database).wait("no longer running", 30)
