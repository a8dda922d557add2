"""The readers of a SQLite file: threads with a connection each, and a whole read is one visit to one of them.

Through an asynchronous driver each statement, and each fetch of its rows, is a visit of its own; beside a thread that
computes, every visit waits for the interpreter twice. What a read sees is one moment of the database: it begins a
transaction, and its connection can write nothing.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

T = TypeVar("T")
THREADS = 4


class SqliteReaders:
    """Runs functions of a Session, a few at a time; the engine's pool needs a connection for each of the threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sqlite-reader")
        self._is_closed = False

    async def run(self, work: Callable[[Session], T]) -> T:
        """The result of `work`; its objects are detached and stay loaded."""
        if self._is_closed:
            raise OSError("the database is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, work)

    async def close(self) -> None:
        """Let what is under way end. Safe to repeat."""
        self._is_closed = True
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    def _read(self, work: Callable[[Session], T]) -> T:
        with Session(self._engine, expire_on_commit=False) as session:
            return work(session)
