"""Clients on sockets of their own, in a process of their own, cheap enough not to be what is measured.

python -m benchmarks.load '{"port": …, "clients": 16, "seconds": 5, "method": "POST", "path": …, "body": …}'
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

import orjson
import uvloop

from benchmarks.figure import percentile

_GRACE_SECONDS = 60
# In a body: stands for the number of the request, so that no two are equal.
NUMBER = "@@@@@@@@@@@@"
_NUMBER_BYTES = NUMBER.encode()


@dataclass(frozen=True, slots=True)
class Load:
    """What every client sends again and again, the next request when the last is answered; `pause` between them.

    With a `rate` the requests are due at so many a second, whatever becomes of those before, and take any client that
    is free; the time of each counts from when it was due.
    """

    port: int
    path: str
    method: str = "GET"
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    clients: int = 16
    seconds: float = 5.0
    pause: float = 0.0
    rate: float = 0.0

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
    worst: float
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
    """A connection; `is_free` is told when it is made, and after each answer."""

    def __init__(self, request: bytes, numbers: "count[int]", is_free: "Callable[[_Client], None]") -> None:
        self._request, self._numbers, self._is_free = request, numbers, is_free
        self._buffer = b""
        self._due = 0.0
        self.times: list[float] = []
        self.statuses: dict[str, int] = {}
        self.last_head = ""
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._is_free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(rest) < content_length(head):
            return
        self.times.append(time.perf_counter() - self._due)
        self.last_head = head.decode("latin-1")
        status = self.last_head[9:12]
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self._buffer = b""
        self._is_free(self)

    def send(self, due: float | None = None) -> None:
        self._due = due or time.perf_counter()
        self._transport.write(self._request.replace(_NUMBER_BYTES, b"%0*d" % (len(NUMBER), next(self._numbers))))

    def close(self) -> None:
        self._transport.close()


class _InTurn:
    """Each client asks again when it is answered."""

    def __init__(self, load: Load) -> None:
        self._pause, self._ends = load.pause, time.perf_counter() + load.seconds

    def is_free(self, client: _Client) -> None:
        if client.times and time.perf_counter() >= self._ends:
            client.close()
        elif client.times and self._pause:
            asyncio.get_running_loop().call_later(self._pause, client.send)
        else:
            client.send()


class _OnTime:
    """Requests are due at a rate; one that finds no free client waits for the next."""

    def __init__(self, load: Load) -> None:
        self._began, self._rate, self._left = time.perf_counter(), load.rate, int(load.rate * load.seconds)
        self._clients = load.clients
        self._free: deque[_Client] = deque()
        self._late: deque[float] = deque()
        self._schedule()

    def is_free(self, client: _Client) -> None:
        if self._late:
            client.send(self._late.popleft())
            return
        self._free.append(client)
        if not self._left and len(self._free) == self._clients:
            for one in self._free:
                one.close()

    def _schedule(self) -> None:
        asyncio.get_running_loop().call_later(1 / self._rate, self._send)

    def _send(self) -> None:
        self._left -= 1
        if self._left:
            self._schedule()
        if self._free:
            self._free.popleft().send()
        else:
            self._late.append(time.perf_counter())


def content_length(head: bytes) -> int:
    """As the head of a request or an answer says; 0 where it does not."""
    at = head.lower().find(b"content-length:")
    return 0 if at < 0 else int(head[at + 15 :].split(b"\r\n", 1)[0])


async def _run(load: Load) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    drive = _OnTime(load) if load.rate else _InTurn(load)
    # From the clock: the rounds of a measurement must not repeat each other's requests.
    numbers = count(int(time.time() * 1000) % 10**9 * 1000)
    clients = []
    for _ in range(load.clients):
        made = await loop.create_connection(
            lambda: _Client(load.request(), numbers, drive.is_free), "127.0.0.1", load.port
        )
        clients.append(made[1])
    await asyncio.gather(*(client.over for client in clients))
    elapsed = time.perf_counter() - began
    times = [seconds * 1000 for client in clients for seconds in client.times]
    statuses: dict[str, int] = {}
    for client in clients:
        for status, number in client.statuses.items():
            statuses[status] = statuses.get(status, 0) + number
    facts = {"rate": len(times) / elapsed, "p50": percentile(times, 0.5), "p99": percentile(times, 0.99)}
    return {**facts, "worst": max(times), "statuses": statuses, "last_head": clients[0].last_head}


if __name__ == "__main__":
    print(orjson.dumps(uvloop.run(_run(Load(**orjson.loads(sys.argv[1]))))).decode())
