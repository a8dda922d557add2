"""News between processes, for whom the way to the database is not the plain one."""

import asyncio

import pytest
from sqlalchemy import make_url

from app.announcements import News, news_of
from app.database import Database
from app.newswire import Newswire
from tests.engines import chosen_engine

pytestmark = pytest.mark.skipif(chosen_engine() != "postgresql", reason="SQLite is watched, not listened to")


async def test_options_in_the_url_hold_for_listening_too(database: Database, database_url: str) -> None:
    # libpq's `sslmode`, under the name that the engine has for it.
    url = make_url(database_url).update_query_dict({"ssl": "disable"})
    listener = Database(url.render_as_string(hide_password=False))
    listening, heard = asyncio.Event(), asyncio.Event()

    def hear(news: News) -> None:
        (heard if news.users else listening).set()

    listener.noticeboard.subscribe(hear)
    newswire = Newswire(listener)
    newswire.start()
    try:
        async with asyncio.timeout(10):
            await listening.wait()
            await database.write(lambda session: news_of(session).users.add("somebody"))
            await heard.wait()
    finally:
        await newswire.close()
