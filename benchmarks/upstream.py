"""The upstream of the gateway's measurement: OpenAI's wire, one fixed answer, so late; as cheap as Python can be.

python -m benchmarks.upstream SECONDS, which prints its port

The protocol server of the tests could do it too, but thinks about each call for longer than the time that is measured.
"""

import asyncio
import signal
import sys
from functools import partial
from typing import cast

import orjson
import uvloop

from benchmarks.load import content_length

MODEL = "gpt-4o-mini"
_ANSWER = orjson.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "A short answer, as a model would give it. " * 4},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100},
    }
)
_REPLY = (
    f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(_ANSWER)}\r\n\r\n".encode() + _ANSWER
)


class _Peer(asyncio.Protocol):
    """A connection with one request at a time, as all clients of this wire have them."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._buffer = seconds, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(rest) < content_length(head):
            return
        self._buffer = b""
        asyncio.get_running_loop().call_later(self._seconds, self._reply)

    def _reply(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_REPLY)


async def _serve(seconds: float) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(partial(_Peer, seconds), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()


if __name__ == "__main__":
    uvloop.run(_serve(float(sys.argv[1])))
