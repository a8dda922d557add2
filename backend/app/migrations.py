"""Migrations from inside the program: bring a database up to date, and tell whether it is."""

import asyncio
from functools import cache
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.database import Database
from app.database_fault import name_of, refusal_of
from app.errors import StartRefused

_BACKEND = Path(__file__).resolve().parents[1]


def migrate(url: str, revision: str = "head") -> None:
    """Take the database at `url` to `revision`; safe to repeat and to run from several processes at once.

    Runs an event loop of its own: call it from a thread that has none. Raises StartRefused when the database cannot
    be used, or is not one that these migrations know.
    """
    config = _config()
    config.attributes["url"] = url
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise StartRefused(f"{name_of(url)}: {_unknown_revision(revision)}") from error
    except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise refusal_of(error, url) from error


def _unknown_revision(wanted: str) -> str:
    if wanted == "head":
        return "was migrated by another release of LiteVault: run that one, or update this one"
    return f"there is no way to a revision {wanted}; the newest is {newest_revision()}"


async def migrate_in_thread(url: str) -> None:
    await asyncio.to_thread(migrate, url)


@cache
def known_revisions() -> tuple[str, ...]:
    """Newest first. The first call reads all their files."""
    return tuple(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def newest_revision() -> str:
    return known_revisions()[0]


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
