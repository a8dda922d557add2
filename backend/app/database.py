"""The database: one way to read and one way to write, the same on SQLite and PostgreSQL.

`read` and `write` run a plain function of a Session: on SQLite writes go through one writer thread and reads
through a few reader threads; on PostgreSQL both run on asyncpg. A write is committed before it
returns, is never cut short by a cancelled caller, and announces its news after the commit. There is no other
way to a transaction.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Engine, MetaData, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import StaticPool
from sqlalchemy.types import TypeDecorator
from uuid_utils import uuid7

from app.announcements import News, Noticeboard, news_of
from app.errors import ServiceUnavailable, StartRefused
from app.sqlite_readers import THREADS, SqliteReaders
from app.sqlite_writer import SqliteWriter

T = TypeVar("T")
CHANNEL = "litevault"
_SQLITE_BUSY_MS = 30_000
_PICO = Decimal(10) ** 12
_POSTGRES_SETTINGS = {
    "application_name": "litevault",
    "statement_timeout": "10000",
    "lock_timeout": "10000",
    "idle_in_transaction_session_timeout": "20000",
    "timezone": "UTC",
}

JsonColumn = JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


class Base(DeclarativeBase):
    """Every table; the naming convention keeps constraint names the same on both engines."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in Python on both engines; SQLite keeps it as text without a zone, which sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def sqlite_time(moment: datetime) -> str:
    """As SQLite keeps what `UtcDateTime` binds, for SQL that binds the text itself."""
    return moment.astimezone(UTC).isoformat(" ", "microseconds")[:26]


class PicoUsd(TypeDecorator[Decimal]):
    """US dollars as a whole number of 1e-12: exact, and exact in SQL sums, up to nine million dollars."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, _dialect: Dialect) -> int | None:
        return to_pico(value)

    def process_result_value(self, value: int | None, _dialect: Dialect) -> Decimal | None:
        return None if value is None else from_pico(value)


def to_pico(usd: Decimal | None) -> int | None:
    """As `PicoUsd` stores it; null stays null."""
    if not usd:
        return None if usd is None else 0
    return int((usd * _PICO).to_integral_value(rounding=ROUND_HALF_EVEN))


def from_pico(amount: int) -> Decimal:
    """US dollars of what `PicoUsd` stores."""
    return Decimal(amount) / _PICO


def new_id() -> str:
    """A UUIDv7: ids sort by the time they were made."""
    return str(uuid7())


# A row gets its id near the time that it holds, not at it.
ID_MARGIN = timedelta(hours=1)


def first_id(moment: datetime) -> str:
    """Not after any id that was made at `moment` or later."""
    digits = f"{int(moment.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}"


class Database:
    """Reads and writes for one process; `start` before the first, `close` after the last."""

    def __init__(self, url: str, noticeboard: Noticeboard | None = None) -> None:
        self.url = make_url(url)
        self.noticeboard = noticeboard or Noticeboard()
        self.process_id = new_id()
        self._engine: AsyncEngine | None = None
        self._readers: SqliteReaders | None = None
        self._writer: SqliteWriter | None = None
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @property
    def sqlite_path(self) -> Path | None:
        return Path(self.url.database or "") if self.is_sqlite else None

    async def start(self) -> None:
        """Open the engines. The database itself may be away: then each call fails with ServiceUnavailable."""
        if self.is_sqlite:
            self._readers = SqliteReaders(_sqlite_reader_engine(str(self.sqlite_path)))
            self._writer = SqliteWriter(sqlite_writer_engine(str(self.sqlite_path)))
            self._writer.start()
        else:
            self._engine = create_async_engine(
                self.url,
                hide_parameters=True,
                pool_pre_ping=True,
                pool_size=10,
                max_overflow=10,
                pool_timeout=10,
                connect_args={"server_settings": _POSTGRES_SETTINGS, "timeout": 10, "command_timeout": 15},
            )

    async def close(self) -> None:
        """Let what is under way end, then close every connection."""
        if self._under_way:
            await asyncio.wait(set(self._under_way))
        if self._writer is not None:
            await self._writer.close()
        if self._readers is not None:
            await self._readers.close()
        if self._engine is not None:
            await self._engine.dispose()

    async def write(self, work: Callable[[Session], T]) -> T:
        """The result of `work`, run in one transaction that is committed when this returns.

        Objects it returns are detached and stay loaded. Raises what `work` raises, with everything rolled back,
        and ServiceUnavailable when the database cannot be used; `work` must be safe to run again by the caller.
        """
        if self._writer is not None:
            writing = self._writer.run(lambda session: (work(session), news_of(session)))
        else:
            writing = self._write_postgres(work)
        return await self._guard(self._announced(writing))

    async def _announced(self, writing: Coroutine[Any, Any, tuple[T, News]]) -> T:
        """Within the guard: what was committed is announced though its caller has gone meanwhile."""
        result, news = await writing
        if news:
            self.noticeboard.publish(news)
        return result

    async def read(self, work: Callable[[Session], T]) -> T:
        """The result of `work`, which only reads. Raises ServiceUnavailable when the database cannot be used."""
        return await self._guard(self._read(work))

    async def _read(self, work: Callable[[Session], T]) -> T:
        if self._readers is not None:
            return await self._readers.run(work)
        async with AsyncSession(self._engine, expire_on_commit=False) as session:
            return await session.run_sync(work)

    async def _write_postgres(self, work: Callable[[Session], T]) -> tuple[T, News]:
        async with AsyncSession(self._engine, expire_on_commit=False) as session, session.begin():
            result = await session.run_sync(work)
            news = news_of(session.sync_session)
            if news:
                await session.execute(_NOTIFY, {"channel": CHANNEL, "payload": news.encode(self.process_id)})
        return result, news

    async def _guard(self, running: Coroutine[Any, Any, T]) -> T:
        """Run to its end even when the caller is cancelled: a session cut off in mid-statement loses its connection."""
        task = asyncio.ensure_future(running)
        self._under_way.add(task)
        task.add_done_callback(self._finished)
        try:
            return await asyncio.shield(task)
        except DBAPIError as error:
            if blames_statement(error):
                raise
            raise ServiceUnavailable from error
        except _UNAVAILABLE as error:
            raise ServiceUnavailable from error

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, or asyncio complains of it when the caller has gone meanwhile


# asyncpg's own errors arrive unwrapped when a connection cannot be made.
_UNAVAILABLE = (PoolTimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_STATEMENT_CLASSES = ("22", "23", "42")  # SQLSTATE: data, integrity, syntax or access rule


def blames_statement(error: DBAPIError) -> bool:
    """Whether the statement or its values are to blame.

    Every other fault means that the database cannot be used now: it is away, full, read-only, out of connections, too
    slow, or deadlocked. SQLAlchemy leaves most of asyncpg's errors in their base class, so the SQLSTATE decides there.
    """
    if isinstance(error, IntegrityError | DataError | ProgrammingError):
        return True
    return str(getattr(error.orig, "sqlstate", None) or "").startswith(_STATEMENT_CLASSES)


_NOTIFY = text("SELECT pg_notify(:channel, :payload)")


def sqlite_writer_engine(path: str) -> Engine:
    """The engine of the one writing connection to a SQLite file. Raises StartRefused when the folder cannot be made."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        mend = "change LITEVAULT_DATA_DIR, or LITEVAULT_DATABASE_URL where that is set"
        raise StartRefused(f"the folder {Path(path).parent} cannot be made ({error.strerror}): {mend}") from None
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=StaticPool,
        hide_parameters=True,
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": _SQLITE_BUSY_MS / 1000},
    )
    event.listen(engine, "connect", _prepare_writer)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _prepare_writer(connection: sqlite3.Connection, _record: object) -> None:
    # 16 MB of pages: at the default of 2 MB a long queue is read anew in each transaction.
    pragmas = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-16000")
    for pragma in (*pragmas, f"busy_timeout={_SQLITE_BUSY_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_reader_engine(path: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        hide_parameters=True,
        pool_size=THREADS,
        max_overflow=0,
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": _SQLITE_BUSY_MS / 1000},
    )
    event.listen(engine, "connect", _prepare_reader)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _prepare_reader(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in (f"busy_timeout={_SQLITE_BUSY_MS}", "query_only=ON"):
        connection.execute(f"PRAGMA {pragma}")
