"""Migrations from inside the program: bring a database up to date, and tell whether it is.

Alembic is imported where there is something to migrate: it takes as long as a quarter of all else at start, and memory.
"""

import asyncio
from functools import cache
from pathlib import Path

import asyncpg
import structlog
from sqlalchemy import inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.database import Database
from app.database_fault import name_of, refusal_of
from app.errors import ServiceUnavailable, StartRefused

log = structlog.get_logger()
_BACKEND = Path(__file__).resolve().parents[1]
_VERSIONS = _BACKEND / "alembic" / "versions"


def migrate(url: str, revision: str = "head") -> None:
    """Take the database at `url` to `revision`; safe to repeat and to run from several processes at once.

    Runs an event loop of its own: call it from a thread that has none. Raises StartRefused when the database cannot
    be used, or is not one that these migrations know.
    """
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config(_BACKEND / "alembic.ini")
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


async def bring_up_to_date(url: str) -> None:
    """As `migrate`, without Alembic where nothing is to migrate."""
    database = Database(url)
    try:
        await database.start()
        if await database.write(_revision_if_writable) == newest_revision():
            return
    except (ServiceUnavailable, SQLAlchemyError, OSError) as fault:
        # Whatever it is, the migration meets it too, and knows what to say of it.
        log.debug("migrations.not_looked_up", exc_info=fault)
    finally:
        await database.close()
    await asyncio.to_thread(migrate, url)


@cache
def known_revisions() -> tuple[str, ...]:
    """Newest first: the name of a migration's file begins with its revision."""
    return tuple(sorted((file.name.partition("_")[0] for file in _VERSIONS.glob("[0-9]*_*.py")), reverse=True))


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


def _revision_if_writable(session: Session) -> str | None:
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA user_version = 0")  # fails on a read-only file; reading it does not
    return _read_revision(session)
