"""One protocol server for all tests of the model side, emptied between them; clients that get closed."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from app.llm.vendors.client import LLMClient
from tests.llm.recorder import llm_settings
from tests.protocol_server.server import ProtocolServer, running_server

MakeClient = Callable[..., Awaitable[LLMClient]]


@pytest.fixture(scope="session")
def shared_upstream() -> Iterator[ProtocolServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def upstream(shared_upstream: ProtocolServer) -> ProtocolServer:
    shared_upstream.reset()
    return shared_upstream


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
