"""Migrations from inside the program: bring a database up to date, and tell whether it is."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from app.database import Database

_BACKEND = Path(__file__).resolve().parents[1]


def migrate(url: str, revision: str = "head") -> None:
    """Take the database at `url` to `revision`; safe to repeat and to run from several processes at once.

    Runs an event loop of its own: call it from a thread that has none.
    """
    config = _config()
    config.attributes["url"] = url
    command.upgrade(config, revision)


async def migrate_in_thread(url: str) -> None:
    await asyncio.to_thread(migrate, url)


def newest_revision() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # noqa: S101 - the repository holds revisions
    return head


async def current_revision(database: Database) -> str | None:
    """The revision that the database is at; None when it has never been migrated."""
    return await database.read(_read_revision)


def _read_revision(session: Session) -> str | None:
    if not inspect(session.connection()).has_table("alembic_version"):
        return None
    found: str | None = session.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _config() -> Config:
    return Config(_BACKEND / "alembic.ini")
