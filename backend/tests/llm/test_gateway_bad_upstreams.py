"""What is no model's server, through the gateway: a clear error, few calls, in time, and in bounded memory."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from app.errors import LLMAnswerTooLarge, LLMApiError, LLMError, LLMTimeout, LLMUnreachable
from app.llm.call import Completion
from tests.llm.gateway_calls import CLAUDE, SECOND, SPARE, chat, door
from tests.llm.recorder import MODEL
from tests.protocol_server.certificates import Authority
from tests.protocol_server.server import ProtocolServer

WIRES = {MODEL: ("openai", "/v1"), CLAUDE: ("anthropic", "")}
both_wires = pytest.mark.parametrize("model", WIRES)
both_ways = pytest.mark.parametrize("way", ["complete", "stream"])
DEADLINE_SECONDS = 3.0
MEGABYTE = b"x" * 1_000_000


class BareServer:
    """Says to every request what it is told to say; `requests` came, `megabytes` went."""

    def __init__(self) -> None:
        self.requests, self.megabytes = 0, 0
        self.url = ""
        self.say: Callable[[asyncio.StreamWriter], Awaitable[None]] = self.redirect

    async def redirect(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

    async def large(self, writer: asyncio.StreamWriter) -> None:
        await self._in_chunks(writer, b"200 OK", b"application/json")

    async def large_event(self, writer: asyncio.StreamWriter) -> None:
        await self._in_chunks(writer, b"200 OK", b"text/event-stream")

    async def large_error(self, writer: asyncio.StreamWriter) -> None:
        await self._in_chunks(writer, b"500 Broken", b"text/html")

    async def packed(self, writer: asyncio.StreamWriter) -> None:
        body = gzip.compress(bytes(50_000_000), compresslevel=1)
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        )
        writer.write(head % len(body) + body)

    async def garbage(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            await self.say(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            """The client has left."""
        finally:
            writer.close()

    async def _in_chunks(self, writer: asyncio.StreamWriter, status: bytes, kind: bytes) -> None:
        """50 MB that do not say how long they are."""
        writer.write(b"HTTP/1.1 %b\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % (status, kind))
        for _ in range(50):
            writer.write(b"%x\r\n%b\r\n" % (len(MEGABYTE), MEGABYTE))
            await writer.drain()
            self.megabytes += 1
        writer.write(b"0\r\n\r\n")


@asynccontextmanager
async def bare_server(say: str) -> AsyncIterator[BareServer]:
    server = BareServer()
    server.say = getattr(server, say)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener:
        yield server


async def told(upstream: ProtocolServer, model: str, way: str, url: str) -> tuple[Completion | LLMError, int]:
    """What comes of one call to a provider at this address, and how many attempts are on the books."""
    name, path = WIRES[model]
    async with door(upstream, model=model, urls={name: url + path}) as gateway:
        started = time.monotonic()
        answer = await getattr(gateway, way)(chat(deadline_seconds=DEADLINE_SECONDS))
        assert time.monotonic() - started < DEADLINE_SECONDS + 1
        assert gateway.recorder.closed == gateway.recorder.attempts
        return answer, len(gateway.recorder.closed)


@both_wires
@both_ways
@pytest.mark.parametrize("certificate", ["expired", "for_another_host"])
async def test_a_bad_certificate_is_a_provider_that_cannot_be_reached(
    certificate: str, way: str, model: str, upstream: ProtocolServer
) -> None:
    async with ProtocolServer(tls=getattr(Authority(), certificate)()) as server:
        fault, attempts = await told(upstream, model, way, server.url)
        assert (type(fault), attempts, server.calls) == (LLMUnreachable, 2, [])


@both_wires
@both_ways
@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://no-such-host.invalid"])
async def test_nobody_there_is_a_provider_that_cannot_be_reached(
    url: str, way: str, model: str, upstream: ProtocolServer
) -> None:
    assert [type(entry) for entry in await told(upstream, model, way, url)] == [LLMUnreachable, int]


@both_wires
@both_ways
async def test_an_address_that_may_not_be_reached_is_not_tried_again(
    way: str, model: str, upstream: ProtocolServer
) -> None:
    fault, attempts = await told(upstream, model, way, "https://10.0.0.7")
    assert (type(fault), attempts) == (LLMApiError, 1)


@both_wires
@both_ways
@pytest.mark.parametrize(
    ("say", "kind", "requests"),
    [
        ("redirect", LLMApiError, 1),
        ("garbage", LLMUnreachable, 2),
        ("large", LLMAnswerTooLarge, 1),
        ("large_event", LLMAnswerTooLarge, 1),
        ("packed", LLMAnswerTooLarge, 1),
    ],
)
async def test_what_is_no_answer_is_refused_and_every_request_is_on_the_books(
    say: str, kind: type[LLMError], requests: int, way: str, model: str, upstream: ProtocolServer
) -> None:
    async with bare_server(say) as server:
        fault, attempts = await told(upstream, model, way, server.url)
        assert type(fault) is kind
        assert attempts == server.requests == requests
        assert server.megabytes < 40  # the bound, and what the sockets hold


@both_wires
@both_ways
async def test_an_error_without_an_end_is_not_read_to_it(way: str, model: str, upstream: ProtocolServer) -> None:
    async with bare_server("large_error") as server:
        fault, attempts = await told(upstream, model, way, server.url)
        # Too large, or broken: by where the vendors' code was when it was stopped.
        assert type(fault) in {LLMAnswerTooLarge, LLMUnreachable}
        assert attempts == server.requests
        assert server.megabytes < 80


@both_wires
@both_ways
async def test_another_provider_answers_where_the_first_one_redirects(
    way: str, model: str, upstream: ProtocolServer
) -> None:
    name, path = WIRES[model]
    async with (
        bare_server("redirect") as server,
        door(upstream, SPARE, model=model, urls={name: server.url + path}) as gateway,
    ):
        answer = await getattr(gateway, way)()
        assert isinstance(answer, Completion), answer
        assert (answer.receipt.model, server.requests) == (SPARE, 1)


@both_wires
async def test_html_is_tried_once_more(model: str, upstream: ProtocolServer) -> None:
    async with door(upstream, model=model) as gateway:
        upstream.set_default("html")
        assert isinstance(await gateway.complete(), LLMUnreachable)
        assert len(gateway.asked) == 2


@both_wires
async def test_an_endless_stream_ends_with_the_deadline(model: str, upstream: ProtocolServer) -> None:
    async with door(upstream, SECOND, model=model) as gateway:
        upstream.set_default("stream_endless")
        started = time.monotonic()
        assert isinstance(await gateway.stream(chat(deadline_seconds=1)), LLMTimeout)
        assert time.monotonic() - started < 1.5
