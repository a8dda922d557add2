"""Connections are judged when they are made: by names that moved meanwhile, by literals, and without redirects."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from app.config import LLMSettings
from app.llm.vendors.http_session import http_session
from app.providers.addresses import AddressPolicy, AddressRefusal
from app.providers.outbound import AddressRefused, ConnectionGuard, RedirectRefused, check_base_url


class Resolver:
    """aiohttp's side of a name service; each question gets the next answer, the last one again and again."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int, family: int) -> list[dict[str, Any]]:
        self.asked.append(host)
        address = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        record = {"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
        return [record]

    async def close(self) -> None:
        """Nothing to close."""


@asynccontextmanager
async def upstream(answer: Callable[[web.Request], Any]) -> AsyncIterator[int]:
    """The port of a server on this machine that answers everything so."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(request)  # type: ignore[no-any-return]

    runner = web.ServerRunner(web.Server(handle))  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def well(request: web.BaseRequest) -> web.Response:
    return web.Response(text="well")


async def refused(guard: ConnectionGuard, url: str, resolver: Resolver | None = None) -> bool:
    """Whether the guard was what kept a request from leaving."""
    async with aiohttp.ClientSession(connector=guard.connector(resolver)) as session:
        try:
            async with session.get(url) as answer:
                return answer.status != 200
        except aiohttp.ClientConnectorError as error:
            return isinstance(error.os_error, AddressRefused)


async def test_a_name_that_was_public_when_saved_and_is_private_now_is_not_reached() -> None:
    async with upstream(well) as port:
        assert await refused(ConnectionGuard(AddressPolicy()), f"http://a.example:{port}/", Resolver("127.0.0.1"))


async def test_a_name_that_turns_private_between_two_connections_is_not_reached_again() -> None:
    resolver = Resolver("127.0.0.1", "10.0.0.1")
    guard = ConnectionGuard(AddressPolicy.of(["127.0.0.1"]))
    async with upstream(well) as port:
        options = {"force_close": True, "use_dns_cache": False}
        async with aiohttp.ClientSession(connector=guard.connector(resolver, **options)) as session:
            async with session.get(f"http://a.example:{port}/") as answer:
                assert answer.status == 200
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(f"http://a.example:{port}/")
    assert len(resolver.asked) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"])
async def test_a_literal_address_which_no_resolver_sees_is_judged_too(host: str) -> None:
    assert await refused(ConnectionGuard(AddressPolicy()), f"http://{host}:9/")


async def test_a_name_that_the_operator_allows_may_lead_anywhere() -> None:
    guard = ConnectionGuard(AddressPolicy.of(["ollama.lan"]))
    async with upstream(well) as port:
        assert not await refused(guard, f"http://ollama.lan:{port}/", Resolver("127.0.0.1"))


async def test_another_name_may_not_use_what_was_vouched_for() -> None:
    guard = ConnectionGuard(AddressPolicy.of(["ollama.lan"]))
    async with upstream(well) as port:
        assert not await refused(guard, f"http://ollama.lan:{port}/", Resolver("127.0.0.1"))
        assert await refused(guard, f"http://evil.example:{port}/", Resolver("127.0.0.1"))


async def test_the_settings_own_address_is_reached() -> None:
    async with upstream(well) as port:
        guard = ConnectionGuard.of(LLMSettings(_env_file=None, api_base=f"http://127.0.0.1:{port}/v1"))
        assert not await refused(guard, f"http://127.0.0.1:{port}/")
        assert await refused(guard, f"http://evil.example:{port}/", Resolver("127.0.0.1"))


async def test_a_proxy_of_the_machine_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(well) as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        guard = ConnectionGuard.of(LLMSettings(_env_file=None))
        assert not await refused(guard, f"http://127.0.0.1:{port}/")


async def test_the_session_of_the_calls_follows_no_redirect() -> None:
    def elsewhere(request: web.BaseRequest) -> web.Response:
        return web.Response(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data"})

    async with upstream(elsewhere) as port:
        session = http_session(ConnectionGuard(AddressPolicy.of(["127.0.0.1"])))
        with pytest.raises(RedirectRefused):
            await session.get(f"http://127.0.0.1:{port}/")
        await session.close()


async def test_vouching_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.providers.outbound._MOST_VOUCHED", 2)
    guard = ConnectionGuard(AddressPolicy.of(["ollama.lan"]))
    for last in range(10):
        guard.judge_name("ollama.lan", [f"10.0.0.{last}"])
    assert len(guard._vouched) <= 3


async def test_a_name_service_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr("app.providers.outbound._RESOLVE_SECONDS", 0.01)
    with pytest.raises(AddressRefusal, match="does not know"):
        await check_base_url("https://a.example", AddressPolicy(), silent)
