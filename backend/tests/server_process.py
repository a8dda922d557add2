"""Real servers and workers for tests: processes of their own, reached over HTTP alone, ended by their own pid.

All waiting is in here, and each wait has a deadline: a test that uses this module says what must come, never how long
to sleep. Whatever happens in a test, `Processes` leaves nothing running.
"""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, Self

import asyncpg
import httpx
from sqlalchemy import make_url

from tests.postgres_cluster import find_free_port

BACKEND = Path(__file__).resolve().parents[1]
Json = dict[str, Any]
FINAL = frozenset({"READY_TO_CONFIRM", "FAILED"})

_WORKER = """
import asyncio
from app.config import load_settings
from app.logs import configure_logs
from app.main import running

async def work():
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    async with running(settings, with_worker=True) as process:
        await process.crew.wait_stopped()

asyncio.run(work())
"""
# Named one by one, so that a developer's .env cannot change what is tested.
_DEFAULTS = {
    "LITEVAULT_ENVIRONMENT": "development",
    "LITEVAULT_DEV_AUTH": "",
    "LITEVAULT_DATABASE_URL": "",
    "LITEVAULT_LOG_FORMAT": "json",
    "LITEVAULT_LOG_LEVEL": "info",
    "LITEVAULT_WORKER_ENABLED": "true",
    "LITEVAULT_LLM_ENABLED": "true",
    "LITEVAULT_LLM_DISABLED_MODE": "wait",
    "LITEVAULT_LLM_PROVIDER": "stub",
}


class ProcessFailedError(AssertionError):
    """What was waited for did not come in time; the message ends with the last lines of the process's log."""


def wait_until(condition: Callable[[], Any], what: str, *, seconds: float = 20) -> float:
    """The seconds until `condition` held. Raises ProcessFailedError."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise ProcessFailedError(f"not within {seconds} s: {what}")
        time.sleep(0.01)
    return time.monotonic() - began


class RunningProcess:
    """A process of the application, its standard output and error in one log file."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        self._file: IO[bytes] = log.open("wb")
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LITEVAULT_") and not k.endswith("_API_KEY")}
        # A session of its own: Ctrl-C is for the test, which ends its processes itself.
        self.popen = subprocess.Popen(
            command,
            cwd=BACKEND,
            env={**kept, **_DEFAULTS, **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def log(self) -> str:
        """All that the process has written to standard output and error."""
        return self._log.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self.popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait_end(self, seconds: float = 20) -> int:
        """The exit code, negative for a signal. Raises ProcessFailedError."""
        self.wait_for(lambda: not self.is_running, "the end of the process", seconds=seconds)
        return int(self.popen.returncode)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = 20) -> int:
        self.send(number)
        return self.wait_end(seconds)

    def kill(self) -> None:
        """As `kill -9` does: nothing is said, nothing is put in order."""
        self.stop(signal.SIGKILL)

    def wait_log(self, words: str, seconds: float = 20) -> float:
        return self.wait_for(lambda: words in self.log, f"{words!r} in the log", seconds=seconds)

    def wait_for(self, condition: Callable[[], Any], what: str, *, seconds: float = 20) -> float:
        try:
            return wait_until(condition, what, seconds=seconds)
        except ProcessFailedError as error:
            raise ProcessFailedError(f"{error}\n{self.log[-3000:]}") from None

    def close(self) -> None:
        """Kill what is left."""
        if self.is_running:
            self.popen.kill()
            self.popen.wait()
        self._file.close()


class Server(RunningProcess):
    """uvicorn with the application on a free port."""

    def __init__(self, environment: dict[str, str], log: Path, options: Iterable[str]) -> None:
        self.port = find_free_port()
        address = ["--host", "127.0.0.1", "--port", str(self.port), "--no-access-log"]
        command = [sys.executable, "-m", "uvicorn", "app.main:app", *address, *options]
        super().__init__(command, environment, log)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=40)

    def as_user(self, user: str) -> Json:
        """Keyword arguments of a request in the name of this person."""
        return {"headers": {"X-Dev-User-Id": user}}

    def readiness(self) -> tuple[int, Json]:
        answer = self.http.get("/readyz")
        return answer.status_code, dict(answer.json())

    def checks(self) -> dict[str, str]:
        """What each part says of itself; empty while the server does not answer."""
        try:
            return dict(self.readiness()[1]["checks"])
        except httpx.HTTPError:
            return {}

    def wait_ready(self, seconds: float = 30) -> Self:
        self.wait_for(lambda: not self.is_running or self._is_ready(), "an answer of 200 from /readyz", seconds=seconds)
        if not self.is_running:
            raise ProcessFailedError(f"the server ended with {self.popen.returncode}\n{self.log[-3000:]}")
        return self

    def _is_ready(self) -> bool:
        try:
            return self.readiness()[0] == 200
        except httpx.HTTPError:
            return False

    def post(self, text: str, user: str = "ann") -> str:
        """The id of a new item of this person."""
        answer = self.http.post("/api/v1/items", json={"rawText": text}, **self.as_user(user))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def item(self, item_id: str, user: str = "ann") -> Json:
        answer = self.http.get(f"/api/v1/items/{item_id}", **self.as_user(user))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def statuses(self, ids: Iterable[str], user: str = "ann") -> set[str]:
        return {self.item(item_id, user)["status"] for item_id in ids}

    def wait_status(
        self, ids: Iterable[str], wanted: Iterable[str] = FINAL, *, seconds: float = 20, user: str = "ann"
    ) -> float:
        """The seconds until each of the items has one of the wanted statuses."""
        open_ids, statuses = list(ids), set(wanted)

        def all_arrived() -> bool:
            while open_ids and self.item(open_ids[-1], user)["status"] in statuses:
                open_ids.pop()
            return not open_ids

        return self.wait_for(all_arrived, f"items in {sorted(statuses)}", seconds=seconds)

    def close(self) -> None:
        self.http.close()
        super().close()


class Processes:
    """Starts processes on one database; ends them all."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder, self.database_url = folder, database_url
        self._started: list[RunningProcess] = []

    def start_server(self, *options: str, ready: bool = True, **settings: object) -> Server:
        """`settings` are environment variables, LITEVAULT_ left out where written in lower case."""
        server = Server(self._environment(settings), self._log(), options)
        self._started.append(server)
        return server.wait_ready() if ready else server

    def start_worker(self, **settings: object) -> RunningProcess:
        """A worker without an API, at work when this returns."""
        worker = self.start_script(_WORKER, **settings)
        worker.wait_log("worker.started")
        return worker

    def start_script(self, code: str, **settings: object) -> RunningProcess:
        """A Python program of a test's own, with the settings of a server."""
        program = RunningProcess([sys.executable, "-c", code], self._environment(settings), self._log())
        self._started.append(program)
        return program

    def kill_all(self) -> None:
        """As `RunningProcess.kill` does."""
        for process in self._started:
            if process.is_running:
                process.kill()

    def close(self) -> None:
        for process in self._started:
            process.close()

    def _environment(self, settings: dict[str, object]) -> dict[str, str]:
        named = {(f"LITEVAULT_{k.upper()}" if k.islower() else k): _as_text(v) for k, v in settings.items()}
        places = {"LITEVAULT_DATA_DIR": str(self.folder), "LITEVAULT_DATABASE_URL": self.database_url}
        return {**places, **named}

    def _log(self) -> Path:
        return self.folder / f"process_{len(self._started)}.log"


def query(database_url: str, statement: str) -> list[tuple[Any, ...]]:
    """The rows that a statement finds, over a connection of its own; not to be called where a loop runs."""
    if database_url.startswith("sqlite"):
        connection = sqlite3.connect(make_url(database_url).database or "", timeout=30)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()
    return asyncio.run(_query_postgres(database_url.replace("+asyncpg", ""), statement))


def change(database_url: str, statement: str) -> None:
    """Write past every process, as time or a hand would."""
    if database_url.startswith("sqlite"):
        connection = sqlite3.connect(make_url(database_url).database or "", timeout=30)
        try:
            connection.execute(statement)
            connection.commit()
        finally:
            connection.close()
    else:
        asyncio.run(_query_postgres(database_url.replace("+asyncpg", ""), statement))


async def _query_postgres(url: str, statement: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
