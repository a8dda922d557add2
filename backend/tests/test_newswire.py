"""News between processes: what the others have done is heard, and what one has done oneself is not taken for theirs."""

import asyncio

import pytest
from sqlalchemy import make_url

from app.accounts.identity import Identity
from app.announcements import News, news_of
from app.database import Database
from app.newswire import Newswire
from tests.engines import chosen_engine

by_listening = pytest.mark.skipif(chosen_engine() != "postgresql", reason="SQLite is watched, not listened to")
by_watching = pytest.mark.skipif(chosen_engine() != "sqlite", reason="PostgreSQL says itself who it was")


@by_watching
async def test_only_the_commits_of_others_are_news_from_others(database: Database, database_url: str) -> None:
    heard: asyncio.Queue[News] = asyncio.Queue()
    database.noticeboard.subscribe(heard.put_nowait)
    other = Database(database_url)
    await other.start()
    newswire = Newswire(database)
    newswire.start()
    try:
        assert (await asyncio.wait_for(heard.get(), 5)).anything, "what came before is told as such"
        await Identity(database, dev_auth=True).user_id_of("ann")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(heard.get(), 0.2)
        for name in ("bob", "eve"):
            await Identity(other, dev_auth=True).user_id_of(name)
            assert (await asyncio.wait_for(heard.get(), 5)).anything
    finally:
        await newswire.close()
        await other.close()


@by_listening
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
