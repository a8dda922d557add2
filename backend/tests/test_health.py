"""Readiness while things are in motion: a newer release beside us, a database that does not answer."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import text

from app import health
from app.errors import ServiceUnavailable
from app.migrations import known_revisions, newest_revision


async def test_while_a_newer_release_replaces_this_one_it_stays_ready(app: FastAPI, client: AsyncClient) -> None:
    newer = text("UPDATE alembic_version SET version_num = '999'")
    await app.state.database.write(lambda session: session.execute(newer))
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"]["migrations"] == "newer than this release"


def test_the_revisions_are_known_from_the_newest_to_the_first() -> None:
    assert known_revisions()[0] == newest_revision()
    assert known_revisions()[-1] == "001"


@contextmanager
def complaints_of_the_loop() -> Iterator[list[dict[str, Any]]]:
    """What nobody looked at: asyncio reports it when it is thrown away."""
    loop = asyncio.get_running_loop()
    heard: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: heard.append(context))
    yield heard
    loop.set_exception_handler(None)


async def test_a_database_that_does_not_answer_is_not_ready_and_its_late_fault_disturbs_nobody(
    app: FastAPI, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_DATABASE_SECONDS", 0.05)
    database, thaw = app.state.database, asyncio.Event()

    async def frozen(_work: object) -> None:
        await thaw.wait()
        raise ServiceUnavailable

    monkeypatch.setattr(database, "_read", frozen)
    with complaints_of_the_loop() as complaints:
        answer = await client.get("/readyz")
        thaw.set()
        await asyncio.wait(set(database._under_way))
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"database": "unreachable", "migrations": "unknown", "worker": "disabled"}
    assert complaints == []
