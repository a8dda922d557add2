"""The database is away, full, locked, read-only or behind: a clear answer, nothing acknowledged lost, and recovery."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy import text

from app import database as database_module
from app.config import Settings
from app.database import Database
from app.main import create_app
from tests.conftest import create
from tests.engines import chosen_engine
from tests.server_process import query
from tests.worker.vault import until

sqlite_only = pytest.mark.skipif(chosen_engine() != "sqlite", reason="a fault of SQLite's file")
LONG = "x" * 9_000


def assert_unavailable(answer: Any) -> None:
    """503 in the envelope, with a time to come back."""
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert error["requestId"] == answer.headers["x-request-id"] and error["message"].endswith(".")
    assert answer.headers["retry-after"] == "1"


@contextmanager
def locked(database_url: str) -> Iterator[None]:
    """Another program is in the middle of a long transaction."""
    other = sqlite3.connect(database_url.partition("///")[2], isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@pytest.fixture
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_SQLITE_BUSY_MS", 150)


@sqlite_only
@pytest.mark.usefixtures("_short_patience")
async def test_a_locked_file_is_read_and_a_write_says_to_come_back(client: AsyncClient, database_url: str) -> None:
    item = await create(client)
    with locked(database_url):
        assert_unavailable(await client.post("/items", json={"rawText": "Not now."}))
        assert_unavailable(await client.patch(f"/items/{item['id']}", json={"action": "discard"}))
        assert (await client.get(f"/items/{item['id']}")).json()["status"] == "ENRICHING"
    await create(client, "Now.")
    assert len((await client.get("/items/pending")).json()["items"]) == 2


async def pragma(database: Database, words: str) -> None:
    """On the writing connection."""
    await database.write(lambda session: session.execute(text(f"PRAGMA {words}")))


@sqlite_only
async def test_a_file_that_may_not_grow_loses_nothing_it_acknowledged(
    app: FastAPI, client: AsyncClient, database_url: str
) -> None:
    pages = query(database_url, "PRAGMA page_count")[0][0]
    await pragma(app.state.database, f"max_page_count={pages + 20}")
    kept = []
    while (answer := await client.post("/items", json={"rawText": LONG})).status_code == 201:
        kept.append(answer.json()["id"])
    assert_unavailable(answer)
    assert 1 < len(kept) < 20
    await pragma(app.state.database, "max_page_count=1000000")
    kept.append((await create(client, LONG))["id"])
    pending = (await client.get("/items/pending", params={"limit": 100})).json()["items"]
    assert sorted(item["id"] for item in pending) == sorted(kept)
    assert query(database_url, "PRAGMA integrity_check") == [("ok",)]


@sqlite_only
async def test_a_file_that_became_read_only_is_read_and_a_write_says_to_come_back(
    app: FastAPI, client: AsyncClient
) -> None:
    item = await create(client)
    # To SQLite the same fault: SQLITE_READONLY from each statement that writes.
    await pragma(app.state.database, "query_only=ON")
    assert_unavailable(await client.post("/items", json={"rawText": "Not now."}))
    assert (await client.get(f"/items/{item['id']}")).status_code == 200
    assert (await client.get("/items/pending")).json()["items"][0]["id"] == item["id"]


@pytest.mark.parametrize("sentence", ["UPDATE alembic_version SET version_num = '005'", "DROP TABLE alembic_version"])
async def test_a_database_behind_its_migrations_is_not_ready(app: FastAPI, client: AsyncClient, sentence: str) -> None:
    await app.state.database.write(lambda session: session.execute(text(sentence)))
    answer = await client.get("/readyz")
    checks = answer.json()["checks"]
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert "litevault migrate" in checks.pop("migrations")
    assert checks == {"database": "ok", "worker": "disabled"}


@pytest.fixture
async def working(settings: Settings) -> AsyncIterator[FastAPI]:
    """The application with its worker."""
    app = create_app(settings.model_copy(update={"worker_enabled": True}))
    async with app.router.lifespan_context(app):
        yield app


async def test_a_dead_worker_is_not_ready(working: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    crew = working.state.crew
    await until(lambda: crew.state == "working")

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(crew.workers[0], "_cycle", broken)
    crew.workers[0]._wake.set()
    await until(lambda: crew.state == "dead")
    async with AsyncClient(transport=ASGITransport(app=working), base_url="http://litevault.test") as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"database": "ok", "worker": "dead", "migrations": "ok"}
