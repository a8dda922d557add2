"""News from other processes on the same database: by LISTEN on PostgreSQL, by watching the file on SQLite.

Neither is needed for correctness, only for speed: whoever listens to the noticeboard also polls.
"""

import asyncio
import sqlite3
from typing import Any

import asyncpg
import structlog
from sqlalchemy.orm import Session

from app import clock
from app.announcements import ANYTHING, News
from app.database import CHANNEL, Database
from app.errors import ServiceUnavailable

log = structlog.get_logger()
_FILE_SECONDS = 0.025
_PING_SECONDS = 5.0
_RECONNECT_SECONDS = 1.0
_OF_THE_ENGINE_ALONE = ("prepared_statement_cache_size", "prepared_statement_name_func", "async_creator_fn")


class Newswire:
    """Publishes on the database's noticeboard what other processes announce."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch_file() if self._database.is_sqlite else self._listen())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch_file(self) -> None:
        """`data_version` changes with each commit of another connection, our writer's too. That of the writer tells
        whether it was another process: else everybody would look for its doings after each commit of ours.

        The first is asked on the loop itself: it reads a counter in shared memory and waits for nobody. By timers,
        since to wake a task for each look doubled what it costs to be idle.
        """
        connection = sqlite3.connect(str(self._database.sqlite_path), timeout=0, isolation_level=None)
        loop = asyncio.get_running_loop()
        seen: int | None = None
        known: int | None = None
        timer: asyncio.TimerHandle | None = None
        asking: asyncio.Task[None] | None = None

        async def ask() -> None:
            nonlocal known
            before, known = known, await self._others_version()
            if known is None or known != before:
                self._database.noticeboard.publish(ANYTHING)

        def look() -> None:
            nonlocal seen, timer, asking
            timer = loop.call_later(_FILE_SECONDS, look)
            version = _data_version(connection)
            if version not in (seen, None) and (asking is None or asking.done()):
                seen, asking = version, loop.create_task(ask())

        try:
            look()
            await loop.create_future()
        finally:
            if timer is not None:
                timer.cancel()
            if asking is not None:
                asking.cancel()
            connection.close()

    async def _others_version(self) -> int | None:
        """Changes with each commit that is not our writer's; null while nobody can say."""
        try:
            return await self._database.write(_version_for)
        except ServiceUnavailable:
            return None

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                log.warning("newswire.lost_connection", exc_info=error)
                await clock.sleep(_RECONNECT_SECONDS)

    async def _listen_once(self) -> None:
        """Until the connection fails; the ping finds a half-open one, which would be silent for ever."""
        url = self._database.url
        # As the engine connects: in a URL of its own asyncpg takes the engine's options for settings of the server.
        _, options = url.get_dialect()().create_connect_args(url)
        for name in _OF_THE_ENGINE_ALONE:
            options.pop(name, None)
        connection = await asyncpg.connect(**{**options, "timeout": 10, "command_timeout": 10})
        try:
            await connection.add_listener(CHANNEL, self._hear)
            # What was announced before we listened is not repeated.
            self._database.noticeboard.publish(ANYTHING)
            while True:
                await clock.sleep(_PING_SECONDS)
                await connection.execute("SELECT 1")
        finally:
            connection.terminate()

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:  # noqa: ANN401 - asyncpg is untyped
        origin, news = News.decode(payload)
        if origin != self._database.process_id:
            self._database.noticeboard.publish(news)


def _version_for(session: Session) -> int:
    return int(session.connection().exec_driver_sql("PRAGMA data_version").scalar_one())


def _data_version(connection: sqlite3.Connection) -> int | None:
    """Null while the file cannot be read."""
    try:
        row = connection.execute("PRAGMA data_version").fetchone()
    except sqlite3.Error:
        return None
    return int(row[0])
