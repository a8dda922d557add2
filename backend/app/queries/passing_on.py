"""How an open request passes on what a live call gives: until the reader leaves, and with a sign of life in silence."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.queries.live import LiveCall

T = TypeVar("T")
_TEXT = {"type": "string"}
# For a route's `responses`; `data` is JSON.
SERVER_SENT = {
    "text/event-stream": {"itemSchema": {"type": "object", "properties": {"event": _TEXT, "data": _TEXT, "id": _TEXT}}}
}
KEEP_ALIVE = b": keep-alive\n\n"


class ClientGone(Exception):
    """Whoever asked has hung up: nobody reads an answer."""


async def unless_gone(request: Request, call: LiveCall, wait: Callable[[], Awaitable[T]]) -> T:
    """What `wait` gives; when the client hangs up before, the call is ended. Raises ClientGone, and as `wait`.

    FastAPI does not tell a route that its client has gone. To be used when the body has been read.
    """
    gone = asyncio.ensure_future(_gone(request))
    waiting = asyncio.ensure_future(wait())
    try:
        await asyncio.wait({gone, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientGone
        return waiting.result()
    except BaseException:
        call.leave()
        raise
    finally:
        gone.cancel()
        waiting.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class LiveResponse(StreamingResponse):
    """Server-sent events of a live call, which ends with it."""

    media_type = "text/event-stream"

    def __init__(self, call: LiveCall, content: AsyncIterator[bytes], headers: dict[str, str] | None = None) -> None:
        # X-Accel-Buffering: nginx would else collect the pieces.
        super().__init__(content, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **(headers or {})})
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Not left to the generator: cut off while it sends, nobody would close it soon.
            self._call.leave()
