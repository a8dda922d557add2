"""The one writer of a SQLite file: a thread that lets transactions waiting together share a commit.

Each piece of work runs in a savepoint of its own, so one that fails takes none of its neighbours along; nobody
is told of success before the shared commit is on the disk. BEGIN IMMEDIATE takes the write lock before the
first read, so nothing read in a transaction can have changed by the time it writes.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

T = TypeVar("T")
_MAX_SHARED = 128


@dataclass(slots=True)
class _Work:
    run: Callable[[Session], Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class SqliteWriter:
    """Runs functions of a Session one after the other on its own thread and connection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work_until_closed, name="sqlite-writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Finish what is queued, then end the thread."""
        if self._thread is None:
            return
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._thread = None
        self._engine.dispose()

    async def run(self, work: Callable[[Session], T]) -> T:
        """The result of `work` after its commit. Cancelling the caller does not undo the work."""
        if self._thread is None:
            raise OSError("the database is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Work(work, future))
        return await future

    def _work_until_closed(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                self._commit_together(batch)
            except Exception as error:  # noqa: BLE001 - every failure belongs to those who wait for this commit
                for work in batch:
                    work.error = work.error or error
            self._deliver(batch)

    def _next_batch(self) -> list[_Work] | None:
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < _MAX_SHARED:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                break
            if work is None:
                self._queue.put(None)
                break
            batch.append(work)
        return batch

    def _commit_together(self, batch: Sequence[_Work]) -> None:
        with self._engine.connect() as connection, connection.begin():
            if len(batch) == 1:
                _run_alone(connection, batch[0])
                return
            for work in batch:
                _run_in_savepoint(connection, work)

    def _deliver(self, batch: Sequence[_Work]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, batch)


def _run_alone(connection: Connection, work: _Work) -> None:
    """It has no neighbours to spare: its failure is the whole transaction's."""
    with Session(connection, expire_on_commit=False) as session:
        work.result = work.run(session)
        session.commit()


def _run_in_savepoint(connection: Connection, work: _Work) -> None:
    try:
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            work.result = work.run(session)
            session.commit()
    except Exception as error:
        driver: Any = connection.connection.driver_connection
        if isinstance(driver, sqlite3.Connection) and not driver.in_transaction:
            raise  # a full disk or an I/O error ended the whole transaction: the neighbours' work is gone too
        work.error = error


def _resolve(batch: Sequence[_Work]) -> None:
    for work in batch:
        if work.future.done():
            continue
        if work.error is not None:
            work.future.set_exception(work.error)
        else:
            work.future.set_result(work.result)
