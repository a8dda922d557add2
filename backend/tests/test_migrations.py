"""The schema: from nothing up, down and up again, and the same as the models say."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from app.database import Database
from app.migrations import bring_up_to_date, current_revision, known_revisions, migrate, newest_revision
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


def test_the_names_of_the_files_tell_the_revisions_in_their_order(empty_url: str) -> None:
    scripts = ScriptDirectory.from_config(alembic(empty_url)).walk_revisions()
    assert known_revisions() == tuple(script.revision for script in scripts)


@pytest.mark.parametrize("revision", [None, "003", "head"])
def test_a_start_takes_a_database_of_any_age_to_the_newest_revision(empty_url: str, revision: str | None) -> None:
    if revision is not None:
        migrate(empty_url, revision)
    asyncio.run(bring_up_to_date(empty_url))
    assert run_state(empty_url)[0] == newest_revision()


def test_where_nothing_is_to_migrate_alembic_is_not_imported(database_url: str) -> None:
    script = (
        "import asyncio, sys; import app.main; from app.migrations import bring_up_to_date;"
        f" asyncio.run(bring_up_to_date({database_url!r})); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=BACKEND)
    assert done.stdout.splitlines()[-1] == "False"
