"""The schema: from nothing up, down and up again, and the same as the models say."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from app.database import Database
from app.migrations import current_revision, migrate, newest_revision
from tests.engines import fresh_database

BACKEND = Path(__file__).resolve().parents[1]


def leave_empty(url: str) -> None:
    """In the place of the migrations: makes the file on SQLite, and nothing else."""
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite+aiosqlite:///")).touch()


@pytest.fixture
def empty_url() -> Iterator[str]:
    yield from fresh_database(leave_empty)


def alembic(url: str) -> Config:
    config = Config(BACKEND / "alembic.ini")
    config.attributes["url"] = url
    return config


async def state_of(url: str) -> tuple[str | None, set[str]]:
    """The revision and the tables."""
    database = Database(url)
    await database.start()
    try:
        return await current_revision(database), await database.read(_tables)
    finally:
        await database.close()


def _tables(session: Session) -> set[str]:
    return set(inspect(session.connection()).get_table_names()) - {"alembic_version"}


def run_state(url: str) -> tuple[str | None, set[str]]:
    return asyncio.run(state_of(url))


def test_up_down_and_up_again(empty_url: str) -> None:
    migrate(empty_url)
    revision, tables = run_state(empty_url)
    assert revision == newest_revision()
    assert {"users", "items", "tags", "item_tags", "item_events", "idempotency_keys", "llm_attempts"} <= tables
    command.downgrade(alembic(empty_url), "base")
    assert run_state(empty_url) == (None, set())
    migrate(empty_url)
    assert run_state(empty_url) == (revision, tables)


def test_each_revision_can_be_left_and_entered_again(empty_url: str) -> None:
    migrate(empty_url)
    steps = 0
    while run_state(empty_url)[0] is not None:
        command.downgrade(alembic(empty_url), "-1")
        command.upgrade(alembic(empty_url), "+1")
        command.downgrade(alembic(empty_url), "-1")
        steps += 1
    assert steps >= 7


def test_the_models_are_what_the_migrations_make(database_url: str) -> None:
    command.check(alembic(database_url))


def test_migrating_again_changes_nothing(database_url: str) -> None:
    before = run_state(database_url)
    migrate(database_url)
    assert run_state(database_url) == before


def test_the_planned_revision_is_there() -> None:
    assert (BACKEND / "alembic" / "versions" / "005_add_enrichment_error.py").is_file()
