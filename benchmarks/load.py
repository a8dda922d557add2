"""Clients on sockets of their own, in a process of their own, cheap enough not to be what is measured.

python -m benchmarks.load '{"port": …, "clients": 16, "seconds": 5, "method": "POST", "path": …, "body": …}'
"""

import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson
import uvloop

from benchmarks.figure import percentile

_GRACE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Load:
    """What every client sends again and again, the next request when the last is answered; `pause` between them."""

    port: int
    path: str
    method: str = "GET"
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    clients: int = 16
    seconds: float = 5.0
    pause: float = 0.0

    def request(self) -> bytes:
        head = {"Host": "bench", "X-Dev-User-Id": "person-0", **self.headers}
        if self.body:
            head |= {"Content-Type": "application/json", "Content-Length": str(len(self.body.encode()))}
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        return "\r\n".join(lines).encode() + self.body.encode()


@dataclass(frozen=True, slots=True)
class Answers:
    """Per second, in milliseconds, and how many of which status."""

    rate: float
    p50: float
    p99: float
    statuses: dict[str, int]
    last_head: str


async def generate(load: Load) -> Answers:
    """Run the load in a child process."""
    facts = {name: getattr(load, name) for name in Load.__slots__}
    command = [sys.executable, "-m", "benchmarks.load", orjson.dumps(facts).decode()]
    root = Path(__file__).resolve().parents[1]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=root)
    try:
        async with asyncio.timeout(load.seconds + _GRACE_SECONDS):
            output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    return Answers(**orjson.loads(output))


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, pause: float, ends: float) -> None:
        self._request, self._pause, self._ends = request, pause, ends
        self._buffer = b""
        self._sent = 0.0
        self.times: list[float] = []
        self.statuses: dict[str, int] = {}
        self.last_head = ""
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(rest) < _length(head):
            return
        now = time.perf_counter()
        self.times.append(now - self._sent)
        status = head[9:12].decode()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self._buffer = b""
        if now >= self._ends:
            self.last_head = head.decode("latin-1")
            self._transport.close()
        elif self._pause:
            asyncio.get_running_loop().call_later(self._pause, self._send)
        else:
            self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return 0 if at < 0 else int(head[at + 15 :].split(b"\r\n", 1)[0])


async def _run(load: Load) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    clients = []
    for _ in range(load.clients):
        made = await loop.create_connection(
            lambda: _Client(load.request(), load.pause, began + load.seconds), "127.0.0.1", load.port
        )
        clients.append(made[1])
    await asyncio.gather(*(client.over for client in clients))
    elapsed = time.perf_counter() - began
    times = [seconds * 1000 for client in clients for seconds in client.times]
    statuses: dict[str, int] = {}
    for client in clients:
        for status, count in client.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    facts = {"rate": len(times) / elapsed, "p50": percentile(times, 0.5), "p99": percentile(times, 0.99)}
    return {**facts, "statuses": statuses, "last_head": clients[0].last_head}


if __name__ == "__main__":
    print(orjson.dumps(uvloop.run(_run(Load(**orjson.loads(sys.argv[1]))))).decode())
