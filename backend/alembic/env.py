"""How migrations reach the database: in one transaction, one process at a time, on either engine.

`app.migrations` hands over the URL; called by the alembic command, the settings give it.
"""

import asyncio

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.config import load_settings
from app.database import sqlite_writer_engine
from app.errors import StartRefused
from app.models import metadata

_LOCK = 7_316_294  # any number, as long as all processes take the same one


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    context.configure(connection=connection, target_metadata=metadata, compare_type=True, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


def _migrate_sqlite(path: str) -> None:
    engine = sqlite_writer_engine(path)
    try:
        with engine.begin() as connection:
            # BEGIN IMMEDIATE lets a read-only file pass; where nothing is to migrate, a write finds it out here.
            connection.exec_driver_sql("PRAGMA user_version = 0")
            _migrate(connection)
    finally:
        engine.dispose()


async def _migrate_postgres(url: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True, connect_args={"timeout": 10})
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_migrate)
    finally:
        await engine.dispose()


def _url_of_settings() -> str:
    try:
        return load_settings().resolved_database_url
    except StartRefused as refusal:
        raise CommandError(str(refusal)) from None  # alembic shows its own errors in one line


def _run() -> None:
    if context.is_offline_mode():
        raise SystemExit("Offline SQL is not made here: run the migrations against a database.")
    url = context.config.attributes.get("url") or _url_of_settings()
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        _migrate_sqlite(parsed.database or "")
    else:
        asyncio.run(_migrate_postgres(url))


_run()
