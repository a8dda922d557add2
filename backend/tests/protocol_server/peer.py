"""One HTTP/1.1 connection, down to the socket: requests in, exact bytes out, resets, and notice of a hang-up.

Invariant: one task serves one connection, so at most one wait is open; every wait ends when the client
leaves.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import httptools

_SLICE_BYTES = 256 * 1024
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class PeerGoneError(Exception):
    """The client closed the connection."""


@dataclass(slots=True, frozen=True)
class Request:
    """`headers` has lower-case names; of repeated ones the last stays."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    is_keep_alive: bool


def head_of(status: int, content_length: int | None, headers: dict[str, str]) -> bytes:
    """Status line and header block, the empty line included. No length: the body comes in HTTP's chunks."""
    framing = "transfer-encoding: chunked" if content_length is None else f"content-length: {content_length}"
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}", framing]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Peer(asyncio.Protocol):
    """The server's end of one connection. `serve` is run once as the task of the connection."""

    def __init__(self, serve: Callable[["Peer"], Coroutine[Any, Any, None]], peers: set["Peer"]) -> None:
        self._serve = serve
        self._peers = peers
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[Request] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._is_writable = True
        self.is_gone = False
        self.is_malformed = False
        self.task: asyncio.Task[None] | None = None
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport has every method of asyncio.Transport, but is not a subclass.
        self._transport = cast("asyncio.Transport", transport)
        self._peers.add(self)
        self.task = self._loop.create_task(self._serve(self))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, UnicodeDecodeError):
            self.is_malformed = True
            self._wake()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.is_gone = True
        self._wake()
        self._peers.discard(self)

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        self._wake()

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._requests.append(
            Request(
                method=self._parser.get_method().decode("latin-1"),
                target=self._target.decode("latin-1"),
                headers=self._headers,
                body=b"".join(self._body),
                is_keep_alive=self._parser.should_keep_alive(),
            )
        )
        self._wake()

    async def next_request(self) -> Request | None:
        """The next request, or None when there will be no other (client left, or sent what is not HTTP)."""
        while not self._requests:
            if self.is_gone or self.is_malformed:
                return None
            await self._park()
        return self._requests.popleft()

    async def pause(self, seconds: float) -> None:
        """Let the time pass. Raises PeerGoneError as soon as the client leaves."""
        until = self._loop.time() + seconds
        while not self.is_gone and (left := until - self._loop.time()) > 0:
            await self._park(left)
        self.check()

    async def hang(self) -> None:
        """Keep silent until the client leaves, then raise PeerGoneError."""
        while not self.is_gone:
            await self._park()
        self.check()

    def check(self) -> None:
        """Raises PeerGoneError if the client has left."""
        if self.is_gone:
            raise PeerGoneError

    def write(self, data: bytes | memoryview) -> None:
        if self._transport is not None and not self.is_gone:
            self._transport.write(data)

    async def send(self, data: bytes, before_last: Callable[[], None]) -> None:
        """Write all of `data` at the client's pace; `before_last` runs before the last piece can reach it."""
        view = memoryview(data)
        while len(view) > _SLICE_BYTES:
            self.write(view[:_SLICE_BYTES])
            view = view[_SLICE_BYTES:]
            await self.drain()
        before_last()
        self.write(bytes(view))

    async def drain(self) -> None:
        """Wait until the client has read enough of what was written. Raises PeerGoneError when it leaves."""
        while not self._is_writable and not self.is_gone:
            await self._park()
        self.check()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; what is not yet written is lost."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """Close with a TCP reset: SO_LINGER at zero makes the kernel drop what it holds and send RST."""
        if self._transport is None:
            return
        endpoint = self._transport.get_extra_info("socket")
        if endpoint is not None and not self.is_gone:
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    async def _park(self, seconds: float | None = None) -> None:
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._wake) if seconds is not None else None
        try:
            await self._waiter
        finally:
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
