"""The vendors' code is started once, and again when that failed."""

from typing import Any

import pytest

from app import clock
from app.errors import LLMUnreachable
from app.llm.gateway import Gateway
from app.llm.routing_rules import load_rules
from app.llm.vendors import client as client_module
from app.llm.vendors.client import LLMClient
from app.llm.vendors.upstreams import build_upstreams
from app.providers.provider import Provider, ProviderKind
from tests.llm.recorder import llm_settings, request
from tests.llm.test_gate import Hands
from tests.protocol_server.server import ProtocolServer


async def test_a_start_that_failed_is_tried_again_on_a_later_use(
    upstream: ProtocolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands, start = Hands(), client_module._start_engine
    monkeypatch.setattr("app.llm.vendors.client.clock.local_seconds", hands)
    failures = [OSError("no room"), OSError("no room")]

    async def start_or_fail(settings: Any) -> Any:
        if failures:
            raise failures.pop()
        return await start(settings)

    monkeypatch.setattr(client_module, "_start_engine", start_or_fail)
    client = LLMClient(llm_settings(upstream.base_url))
    for pause in (1.0, 2.0):
        with pytest.raises(LLMUnreachable):
            await client.start()
        left = len(failures)
        with pytest.raises(LLMUnreachable):  # too soon: nothing is tried
            await client.extract(request())
        assert len(failures) == left
        hands.now += pause
    assert (await client.extract(request())).title
    await client.close()


@pytest.mark.parametrize("kind", [ProviderKind.OPENAI, ProviderKind.STUB])
async def test_the_vendors_get_ready_beside_the_start_where_a_provider_needs_them(
    kind: ProviderKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[ProviderKind] = []

    async def start(_upstreams: object) -> None:
        started.append(kind)

    monkeypatch.setattr("app.llm.vendors.upstreams.Upstreams.start", start)
    gateway = Gateway(
        llm_settings("http://127.0.0.1:9/v1"),
        build_upstreams(llm_settings("http://127.0.0.1:9/v1")),
        load_rules(None),
        providers=lambda: {"own": Provider("own", kind)},
    )
    async with gateway.warming_up():
        await clock.sleep(0)
    assert started == ([] if kind is ProviderKind.STUB else [kind])
