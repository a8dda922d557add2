"""The listening socket of one server, and its outages.

Invariant: an outage ends by itself after its time, by `go_up`, or with the server, and the port is the same
afterwards. While it is `REFUSED` nothing listens, so a client meets what it meets when the process is gone.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tests.protocol_server.faults.table import parse_expression

HOST = "127.0.0.1"
REFUSED = "refused"
_PATIENCE_SECONDS = 5.0


class Door:
    """`cut` ends every connection that is there; `fault` is what all requests meet while the server is down."""

    def __init__(
        self,
        port: int,
        tls: ssl.SSLContext | None,
        greet: Callable[[], asyncio.Protocol],
        cut: Callable[[], Awaitable[None]],
    ) -> None:
        self.port = port
        self.fault: str | None = None
        self._tls = tls
        self._greet = greet
        self._cut = cut
        self._listener: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._change: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://{HOST}:{self.port}"

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._listener is None:
            listener = await self._loop.create_server(self._greet, HOST, self.port, backlog=1024, ssl=self._tls)
            self._listener, self.port = listener, listener.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """The end of the server. Safe to repeat."""
        self._stop_timer()
        if self._change is not None:
            self._change.cancel()
            await asyncio.gather(self._change, return_exceptions=True)
        await self._close()

    async def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        await self._cut()
        if listener is not None:
            await listener.wait_closed()

    def go_down(self, fault: str, seconds: float | None) -> None:
        """From any thread; done on return, but on the server's own loop. Raises UnknownFaultError."""
        if fault != REFUSED:
            parse_expression(fault)
        self._do(self._down(fault, seconds))

    def go_up(self) -> None:
        """As `go_down`; nothing where the server is not down."""
        if self.fault is not None:
            self._do(self._up())

    async def _down(self, fault: str, seconds: float | None) -> None:
        await self._up()
        self.fault = fault
        if fault == REFUSED:
            await self._close()
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.go_up)

    async def _up(self) -> None:
        self._stop_timer()
        await self.open()
        self.fault = None

    def _do(self, change: Coroutine[Any, Any, None]) -> None:
        if self._loop is None:
            change.close()
            raise RuntimeError("the server does not run")
        try:
            is_own_loop = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_own_loop = False
        if is_own_loop:
            self._change = self._loop.create_task(change)
        else:
            asyncio.run_coroutine_threadsafe(change, self._loop).result(_PATIENCE_SECONDS)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
