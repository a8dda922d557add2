"""A fresh, migrated database for each test, on the engine that LITEVAULT_TEST_DATABASE names.

Migrations run once, into a template; a test gets a copy of it. Nothing is shared between two tests, so none
of them has to clean up. A fixture is one line: `yield from fresh_database(migrate)`.
"""

import asyncio
import atexit
import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import asyncpg

from tests.postgres_cluster import URL_VARIABLE

ENGINE_VARIABLE = "LITEVAULT_TEST_DATABASE"

Migrate = Callable[[str], None]


class EngineNotConfiguredError(RuntimeError):
    """The environment asks for an engine that cannot be had; the message says what to set."""


def chosen_engine() -> str:
    engine = os.environ.get(ENGINE_VARIABLE, "sqlite")
    if engine not in {"sqlite", "postgresql"}:
        raise EngineNotConfiguredError(f"{ENGINE_VARIABLE} is {engine!r}; it must be sqlite or postgresql")
    return engine


def fresh_database(migrate: Migrate) -> Iterator[str]:
    """Yields the URL of a database of its own, made by `migrate(url)`, which must leave nothing open."""
    if chosen_engine() == "sqlite":
        yield from _fresh_sqlite(migrate)
    else:
        yield from _fresh_postgres(migrate)


def _fresh_sqlite(migrate: Migrate) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="litevault-test-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "litevault.db"
        shutil.copyfile(_sqlite_template(migrate), file)
        yield f"sqlite+aiosqlite:///{file}"


@cache
def _sqlite_template(migrate: Migrate) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="litevault-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = folder / "template.db"
    migrate(f"sqlite+aiosqlite:///{file}")
    connection = sqlite3.connect(file)
    # What still lies in the write-ahead log would be missing from a copy of the file.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return file


def _fresh_postgres(migrate: Migrate) -> Iterator[str]:
    source = _postgres_source(migrate)
    name = source.take()
    try:
        yield source.url_of(name)
    finally:
        source.give_back(name)


@cache
def _postgres_source(migrate: Migrate) -> "PostgresSource":
    url = os.environ.get(URL_VARIABLE)
    if not url:
        raise EngineNotConfiguredError(
            f"{ENGINE_VARIABLE}=postgresql needs {URL_VARIABLE}: run the tests as `make test-postgres` does, "
            "or set it to a server on which databases may be made (postgresql+asyncpg://user@host/postgres)"
        )
    return PostgresSource(url, migrate)


class PostgresSource:
    """Copies of one template. A copy takes 60 to 130 ms, so the next one is made while a test uses the last.

    One thread does it all: in order, and with no event loop in it but its own, so that any test may call it.
    """

    def __init__(self, url: str, migrate: Migrate) -> None:
        self._url = url
        self._prefix = f"litevault_test_{secrets.token_hex(4)}"
        self._made = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="test-databases")
        self._template = f"{self._prefix}_template"
        self._thread.submit(self._execute, f'CREATE DATABASE "{self._template}"').result()
        atexit.register(self.remove_all)
        migrate(self.url_of(self._template))
        # From here on nobody writes into it by mistake, or holds a connection that prevents copying.
        self._thread.submit(self._execute, f'ALTER DATABASE "{self._template}" ALLOW_CONNECTIONS false').result()
        self._next = self._make()

    def url_of(self, name: str) -> str:
        return f"{self._url.rpartition('/')[0]}/{name}"

    def take(self) -> str:
        name = self._next.result()
        self._next = self._make()
        return name

    def give_back(self, name: str) -> None:
        # FORCE: a test that failed may have left a connection open, and that is not this place's to report.
        self._thread.submit(self._execute, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def remove_all(self) -> None:
        """Runs at the end of the process; the server may be gone by then, and the databases with it."""
        try:
            asyncio.run(self._drop_leftovers())
        except OSError:
            return

    def _make(self) -> "Future[str]":
        self._made += 1
        return self._thread.submit(self._copy, f"{self._prefix}_{self._made}")

    def _copy(self, name: str) -> str:
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{self._template}"')
        return name

    def _execute(self, statement: str) -> None:
        asyncio.run(self._connect_and_execute(statement))

    async def _connect_and_execute(self, statement: str) -> None:
        connection = await self._connect()
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def _drop_leftovers(self) -> None:
        connection = await self._connect()
        try:
            rows = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE $1", f"{self._prefix}%")
            for row in rows:
                await connection.execute(f'DROP DATABASE IF EXISTS "{row["datname"]}" WITH (FORCE)')
        finally:
            await connection.close()

    async def _connect(self) -> "asyncpg.Connection":
        return await asyncpg.connect(self._url.replace("+asyncpg", "", 1))
