"""Whether a provider lives: what a look sees on each wire, what it changes, and whom nobody looks at."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from fastapi import FastAPI
from httpx import AsyncClient
from pydantic import SecretStr

from app.config import LLMSettings
from app.providers.addresses import AddressPolicy
from app.providers.credentials.secret_keys import SettingsKeys, new_key
from app.providers.credentials.vault import Vault
from app.providers.from_settings import providers_of
from app.providers.health import Health, HealthMonitor, is_watched, judge
from app.providers.outbound import ConnectionGuard
from app.providers.probe import HttpProbe, Sign, headers_of, list_address
from app.providers.provider import HealthCheck, KeyState, Provider, ProviderKind
from app.providers.registry import ProviderRegistry
from app.providers.schemas import HealthState
from tests.protocol_server.certificates import Authority
from tests.protocol_server.server import ProtocolServer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WELL, AWAY = Sign(True, 0.1), Sign(False, 0.2, "connection")
COMPATIBLE = ProviderKind.OPENAI_COMPATIBLE


def after(*signs: Sign) -> Health:
    health = Health()
    for place, sign in enumerate(signs):
        health = judge(health, sign, NOW + timedelta(seconds=place))
    return health


@pytest.mark.parametrize(
    ("signs", "state"),
    [
        ([], HealthState.UNKNOWN),
        ([WELL], HealthState.HEALTHY),
        ([AWAY], HealthState.FAILING),
        ([AWAY] * 2, HealthState.FAILING),
        ([AWAY] * 3, HealthState.DOWN),
        ([AWAY, AWAY, WELL, AWAY], HealthState.FAILING),
        ([*[AWAY] * 9, WELL], HealthState.HEALTHY),
        ([Sign(True, 0.1, "http_401")], HealthState.HEALTHY),
    ],
)
def test_a_provider_is_down_after_three_failures_in_a_row_and_back_with_one_success(
    signs: list[Sign], state: HealthState
) -> None:
    assert after(*signs).state is state


def test_since_when_it_fails_is_kept_and_forgotten() -> None:
    assert after(WELL, AWAY, AWAY, AWAY).failing_since == NOW + timedelta(seconds=1)
    assert after(AWAY, WELL).failing_since is None


@asynccontextmanager
async def upstream(status: Callable[[], int]) -> AsyncIterator[tuple[str, list[web.BaseRequest]]]:
    """The address of a server, and what it was asked."""
    asked: list[web.BaseRequest] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        asked.append(request)
        return web.Response(status=status(), text="<html>", headers={"Location": "http://169.254.169.254/"})

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def look(provider: Provider, *allowed: str) -> Sign:
    probe = HttpProbe(ConnectionGuard(AddressPolicy.of(allowed)))
    try:
        return await probe.ask(provider)
    finally:
        await probe.close()


@pytest.mark.parametrize(
    ("status", "is_alive", "code"),
    [
        (200, True, None),
        (307, True, "http_307"),
        (401, True, "http_401"),
        (404, True, "http_404"),
        (429, True, "http_429"),
        (500, False, "http_500"),
        (503, False, "http_503"),
    ],
)
async def test_only_a_fault_of_the_server_is_no_sign_of_life(
    status: int,
    *,
    is_alive: bool,
    code: str | None,
) -> None:
    async with upstream(lambda: status) as (address, asked):
        sign = await look(Provider("p", COMPATIBLE, base_url=address), "127.0.0.1")
    assert (sign.is_alive, sign.error_code, len(asked)) == (is_alive, code, 1)


@pytest.mark.parametrize(
    ("kind", "path", "check"),
    [
        (ProviderKind.OPENAI, "/v1", HealthCheck.MODELS),
        (COMPATIBLE, "/v1", HealthCheck.MODELS),
        (COMPATIBLE, "/v1", HealthCheck.OLLAMA_TAGS),
        (ProviderKind.ANTHROPIC, "", HealthCheck.MODELS),
        (ProviderKind.ANTHROPIC, "/v1", HealthCheck.MODELS),
    ],
)
async def test_each_wire_s_list_is_found_and_is_no_call(kind: ProviderKind, path: str, check: HealthCheck) -> None:
    async with ProtocolServer() as server:
        key, address = SecretStr("sk-test"), f"{server.url}{path}"
        provider = Provider("p", kind, address, key, KeyState.SET, health_check=check)
        assert (await look(provider, "127.0.0.1")).error_code is None
        assert (server.listings, server.calls) == (1, [])


async def test_a_server_that_goes_down_leaves_and_comes_back_when_it_is_up(app: FastAPI) -> None:
    probe = HttpProbe(ConnectionGuard(AddressPolicy.of(["127.0.0.1"])))
    async with ProtocolServer() as server:
        provider = Provider("p", COMPATIBLE, base_url=server.base_url, api_key=SecretStr("sk-test"))
        async with watching(app, probe, provider) as monitor:
            await until(monitor, lambda: monitor.health_of("p").state is HealthState.HEALTHY)
            for fault in ("503", "reset"):
                server.go_down(fault)
                await until(monitor, lambda: monitor.is_down("p"))
                server.go_up()
                await until(monitor, lambda: not monitor.is_down("p"))
        assert server.calls == []


async def test_no_connection_is_no_sign_of_life() -> None:
    provider = Provider("p", COMPATIBLE, base_url="http://127.0.0.1:1/v1")
    assert (await look(provider, "127.0.0.1")).error_code == "connection"


async def test_a_private_address_is_not_looked_at() -> None:
    async with upstream(lambda: 200) as (address, asked):
        assert (await look(Provider("p", COMPATIBLE, base_url=address))).error_code == "address_refused"
    assert asked == []


@pytest.mark.parametrize("shown", [Authority.expired, Authority.for_another_host, Authority.valid])
async def test_a_certificate_that_does_not_hold_is_told(shown: Callable[[Authority], ssl.SSLContext]) -> None:
    """Even a valid one, of an authority that nobody knows."""
    async with ProtocolServer(tls=shown(Authority())) as server:
        sign = await look(Provider("p", COMPATIBLE, base_url=server.base_url), "127.0.0.1")
    assert (sign.is_alive, sign.error_code, server.listings) == (False, "certificate", 0)


async def test_silence_is_no_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.providers.probe._LOOK_SECONDS", 0.05)
    silent = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    sign = await look(Provider("p", COMPATIBLE, base_url=f"http://127.0.0.1:{port}"), "127.0.0.1")
    silent.close()
    assert (sign.is_alive, sign.error_code) == (False, "timeout")


@pytest.mark.parametrize(
    ("provider", "address", "header"),
    [
        (Provider("p", ProviderKind.OPENAI), "https://api.openai.com/v1/models", "Authorization"),
        (Provider("p", ProviderKind.ANTHROPIC), "https://api.anthropic.com/v1/models", "x-api-key"),
        (Provider("p", COMPATIBLE, base_url="http://h:1/v1/"), "http://h:1/v1/models", "Authorization"),
        (
            Provider("p", COMPATIBLE, base_url="http://h:1/v1", health_check=HealthCheck.OLLAMA_TAGS),
            "http://h:1/api/tags",
            "Authorization",
        ),
    ],
)
def test_each_wire_has_its_list_and_its_header_for_the_key(provider: Provider, address: str, header: str) -> None:
    with_key = Provider(provider.name, provider.kind, provider.base_url, SecretStr("k"), KeyState.SET)
    assert list_address(provider) == address
    assert headers_of(with_key)[header].endswith("k") and header not in headers_of(provider)
    assert ("anthropic-version" in headers_of(provider)) == (provider.kind is ProviderKind.ANTHROPIC)


class ScriptedProbe:
    """Sees what it is told; `asked` are the names of whom it looked at."""

    def __init__(self) -> None:
        self.sign = WELL
        self.asked: list[str] = []
        self.under_way = self.most_under_way = 0

    async def ask(self, provider: Provider) -> Sign:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        self.asked.append(provider.name)
        self.under_way -= 1
        return self.sign

    async def close(self) -> None:
        """Nothing to close."""


@asynccontextmanager
async def watching(app: FastAPI, probe: Any, *providers: Provider) -> AsyncIterator[HealthMonitor]:
    """A monitor that looks as often as it can."""
    vault = Vault(SettingsKeys([new_key()]))
    registry = ProviderRegistry(app.state.database, vault, {provider.name: provider for provider in providers})
    monitor = HealthMonitor(registry, probe, interval_seconds=0.01)
    monitor.start()
    try:
        yield monitor
    finally:
        await monitor.close()


async def until(monitor: HealthMonitor, is_so: Callable[[], bool]) -> None:
    seen = asyncio.Event()
    monitor.subscribe(lambda name: seen.set())
    async with asyncio.timeout(5):
        while not is_so():
            seen.clear()
            await seen.wait()


async def test_a_provider_that_dies_leaves_and_comes_back(app: FastAPI) -> None:
    probe = ScriptedProbe()
    async with watching(app, probe, Provider("p", ProviderKind.OPENAI)) as monitor:
        await until(monitor, lambda: monitor.health_of("p").state is HealthState.HEALTHY)
        assert not monitor.is_down("p") and monitor.health_of("p").latency_p50_seconds == 0.1
        probe.sign = AWAY
        await until(monitor, lambda: monitor.is_down("p"))
        assert monitor.health_of("p").failures == 3
        probe.sign = WELL
        await until(monitor, lambda: not monitor.is_down("p"))
    assert probe.most_under_way == 1


async def test_what_is_known_of_a_provider_goes_with_it(app: FastAPI, client: AsyncClient, register: Any) -> None:
    access, probe = app.state.providers, ScriptedProbe()
    probe.sign = AWAY
    monitor = HealthMonitor(access.registry, probe, interval_seconds=0.01)
    monitor.start()
    made = await register()
    await until(monitor, lambda: monitor.is_down("mine"))
    await client.delete(f"/llm/providers/{made['id']}")
    assert not monitor.is_down("mine")
    await monitor.close()
    await register(name="late")
    assert "late" not in probe.asked, "nobody is looked at after the end"


@pytest.mark.parametrize(
    "provider",
    [
        Provider("p", ProviderKind.STUB),
        Provider("p", ProviderKind.MOCK),
        Provider("p", ProviderKind.LITELLM),
        Provider("p", ProviderKind.OPENAI, is_enabled=False),
        Provider("p", ProviderKind.OPENAI, health_check=HealthCheck.NONE),
        Provider("p", ProviderKind.OPENAI, key_state=KeyState.UNREADABLE),
    ],
)
def test_who_has_no_wire_or_is_not_used_is_not_looked_at(provider: Provider) -> None:
    assert not is_watched(provider)


def test_with_the_stub_alone_nobody_is_looked_at() -> None:
    settings = LLMSettings(_env_file=None, openai_api_key=SecretStr("k"))
    assert not [provider for provider in providers_of(settings).values() if is_watched(provider)]
