"""Clients of the model side that get closed."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from app.llm.vendors.client import LLMClient
from tests.llm.recorder import llm_settings
from tests.protocol_server.server import ProtocolServer

MakeClient = Callable[..., Awaitable[LLMClient]]


@pytest.fixture
async def make_client(upstream: ProtocolServer) -> AsyncIterator[MakeClient]:
    clients: list[LLMClient] = []

    async def make(**settings: object) -> LLMClient:
        client = LLMClient(llm_settings(upstream.base_url, **settings))
        clients.append(client)
        await client.start()
        return client

    yield make
    for client in clients:
        await client.close()
