"""The processes of a run: the servers and the upstream. Only what was started here is ever signalled, by its id."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

BACKEND = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
_UPSTREAM_START_SECONDS = 30
_POLL_SECONDS = 0.02
# uvicorn's, when the application would not start: because its database is away, for one.
START_REFUSED = 3


class ProcessError(RuntimeError):
    """A process did not do what it was told; the message says which and what."""


class Process:
    """One process of ours that can be started again; its output goes to one file through all its lives."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command, self._environment = command, dict(environment)
        self._running: subprocess.Popen[bytes] | None = None
        self._is_paused = False

    @property
    def is_running(self) -> bool:
        return self._running is not None and self._running.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs, and before its first start."""
        return None if self._running is None else self._running.poll()

    def start(self, stdout: int | IO[bytes] | None = None) -> None:
        if self.is_running:
            raise ProcessError(f"{self.name} runs already")
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is for the run, which ends its processes itself.
            self._running = subprocess.Popen(
                self._command,
                cwd=BACKEND,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout or log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def output(self) -> IO[bytes]:
        if self._running is None or self._running.stdout is None:
            raise ProcessError(f"{self.name} has no pipe")
        return self._running.stdout

    def pause(self) -> None:
        if self._running is not None and self.is_running:
            self._running.send_signal(signal.SIGSTOP)
            self._is_paused = True

    def resume(self) -> None:
        if self._running is not None and self._is_paused and self.is_running:
            self._running.send_signal(signal.SIGCONT)
        self._is_paused = False

    def kill(self) -> None:
        """Safe to repeat."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._is_paused = False

    def terminate(self, within_seconds: float) -> bool:
        """Blocks. False when it did not end in time and had to be killed."""
        if self._running is None or not self.is_running:
            return True
        self.resume()
        self._running.terminate()
        try:
            self._running.wait(within_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True


class Server(Process):
    """`uvicorn app.main:app`, as the README has it."""

    def __init__(self, index: int, port: int, environment: Mapping[str, str], folder: Path) -> None:
        command = [sys.executable, "-m", "uvicorn", "app.main:app", "--host", HOST, "--port", str(port)]
        super().__init__(f"server {index}", command, environment, folder / f"server{index}.log")
        self.url = f"http://{HOST}:{port}"


class Upstream(Process):
    """The protocol server, with a latency and a mix of faults; `calls_path` is its own book of calls."""

    def __init__(self, folder: Path, *, latency_seconds: float, fault_rate: float, seed: int) -> None:
        self.calls_path = folder / "calls.jsonl"
        options = {
            "--log": str(self.calls_path),
            "--latency": str(latency_seconds),
            "--fault-rate": str(fault_rate),
            "--seed": str(seed),
        }
        command = [sys.executable, "-m", "tests.protocol_server", *(part for pair in options.items() for part in pair)]
        super().__init__("upstream", command, os.environ, folder / "upstream.log")
        self.base_url = ""

    def start(self, stdout: int | IO[bytes] | None = None) -> None:
        """Returns when it listens."""
        super().start(stdout or subprocess.PIPE)
        deadline = time.monotonic() + _UPSTREAM_START_SECONDS
        while not self.base_url and self.is_running and time.monotonic() < deadline:
            # It says one line, with its address at the end.
            self.base_url = self.output.readline().decode().rpartition(" ")[2].strip()
            time.sleep(_POLL_SECONDS)
        if not self.base_url:
            self.kill()
            raise ProcessError(f"the upstream did not start; see {self.log}")
