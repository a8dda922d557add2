"""The vendors' code is started once, and again when that failed."""

from typing import Any

import pytest

from app.errors import LLMUnreachable
from app.llm.vendors import client as client_module
from app.llm.vendors.client import LLMClient
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
