"""A llama.cpp server of the test's own: the program that is on the PATH, or that `make llama-server` built."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.postgres_cluster import find_free_port
from tests.server_process import wait_until

BUILT = Path(__file__).resolve().parents[3] / "build" / "llama" / "bin" / "llama-server"


def find_program() -> str | None:
    return os.environ.get("LITEVAULT_TEST_LLAMA_SERVER") or shutil.which("llama-server") or _built()


def _built() -> str | None:
    return str(BUILT) if BUILT.is_file() else None


@dataclass(frozen=True)
class LlamaServer:
    url: str
    log: Path

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


@contextmanager
def running_llama(program: str, model: Path, *, context_tokens: int) -> Iterator[LlamaServer]:
    """Raises ProcessFailedError when it is not ready in time; its log lies beside the model."""
    port, log = find_free_port(), model.with_suffix(".log")
    options = {
        "--model": str(model),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--ctx-size": str(context_tokens),
        "--parallel": "1",
        "--threads": "1",
        "--alias": "tiny",
    }
    with log.open("wb") as output:
        command = [program, *(word for pair in options.items() for word in pair)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    server = LlamaServer(f"http://127.0.0.1:{port}", log)
    try:
        wait_until(lambda: _is_ready(server, process), "llama-server, ready", seconds=60)
        yield server
    finally:
        process.kill()
        process.wait()


def _is_ready(server: LlamaServer, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        last = "\n".join(server.log.read_text("utf-8", "replace").splitlines()[-20:])
        raise AssertionError(f"llama-server ended by itself:\n{last}")
    try:
        return httpx.get(f"{server.url}/health", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False
