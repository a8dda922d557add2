"""The vault and its peers as processes of their own: started, watched through /proc, ended by their id."""

import asyncio
import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.places import Place
from tests.postgres_cluster import find_free_port

_ROOT = Path(__file__).resolve().parents[1]
_BACKEND = _ROOT / "backend"
_MODULES = Path(tempfile.gettempdir()) / f"litevault-bench-modules-{os.getpid()}"
_START_SECONDS = 120  # of the slowest peer, on a busy machine
_STOP_SECONDS = 30
atexit.register(shutil.rmtree, _MODULES, ignore_errors=True)


class Child:
    """A process of ours. Its output goes to a file: a full pipe would stop it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self.spawned_at = time.perf_counter()
        known = {name: value for name, value in os.environ.items() if not name.startswith("LITEVAULT_")}
        known["PYTHONPATH"] = os.pathsep.join([str(_BACKEND), str(_ROOT)])
        # As on a machine where it was started before, whatever this one's rule about compiled modules is.
        known.pop("PYTHONDONTWRITEBYTECODE", None)
        known["PYTHONPYCACHEPREFIX"] = str(_MODULES)
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, env={**known, **environment})

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        if self.is_alive():
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def rss_megabytes(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server(Child):
    """A child that answers HTTP on `port`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, port: int) -> None:
        super().__init__(command, environment, log)
        self.port = port

    async def wait_ready(self, path: str = "/health") -> float:
        """Seconds from the spawn to the first 200."""
        while True:
            if await _answers(self.port, path):
                return time.perf_counter() - self.spawned_at
            if not self.is_alive() or time.perf_counter() - self.spawned_at > _START_SECONDS:
                raise RuntimeError("the server did not start:\n" + self.log.read_text(errors="replace")[-3000:])
            await asyncio.sleep(0.005)


def start_vault(place: Place, **settings: str) -> Server:
    """`uvicorn app.main:app` on this place, with LITEVAULT_<settings>."""
    own = {f"LITEVAULT_{name.upper()}": value for name, value in settings.items() if not name.isupper()}
    environment = {"LITEVAULT_DATABASE_URL": place.url, "LITEVAULT_DATA_DIR": str(place.folder), **own}
    environment |= {name: value for name, value in settings.items() if name.isupper()}
    return _start_uvicorn("app.main:app", environment, place.folder / "vault.log")


def start_bare(place: Place) -> Server:
    """The peer: see `benchmarks.bare_app`, on a file of its own beside the place's."""
    return _start_uvicorn("benchmarks.bare_app:app", {"BARE_FILE": place.path + ".bare"}, place.folder / "bare.log")


def _start_uvicorn(target: str, environment: Mapping[str, str], log: Path) -> Server:
    port = find_free_port()
    command = [sys.executable, "-m", "uvicorn", target, "--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    return Server(command, environment, log, port)


@asynccontextmanager
async def ready(server: Server, path: str = "/health") -> AsyncIterator[Server]:
    """The server once it answers; ended afterwards."""
    try:
        await server.wait_ready(path)
        yield server
    finally:
        await asyncio.to_thread(server.end)


async def _answers(port: int, path: str) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()
