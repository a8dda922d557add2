"""What every test of the application starts from: a migrated database of its own, the app on it, people to call it.

The worker is off unless a test asks for it; items that it would have ended are made by `enriched` and `failed`.
"""

import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from app.config import LLMSettings, Settings
from app.database import Database, new_id
from app.items.item_model import Item
from app.logs import configure_logs
from app.main import create_app
from app.migrations import migrate
from tests.engines import fresh_database
from tests.protocol_server.server import ProtocolServer, running_server
from tests.server_process import Processes

API = "/api/v1"
Json = dict[str, Any]
AsUser = Callable[..., AsyncClient]
_MAKERS = {"fresh_database", "postgres_cluster", "PostgresCluster", "go_through_everything"}
_Startup = Callable[[list[socket.socket] | None], Coroutine[Any, Any, None]]
SetColumns = Callable[..., Awaitable[None]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database-only", action="store_true", help="leave out the tests that open no database: for the second engine"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--database-only"):
        kept = [item for item in items if _opens_a_database(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept


def _opens_a_database(item: pytest.Item) -> bool:
    """By the fixture, or by itself in a module that makes databases of its own."""
    module = getattr(item, "module", None)
    return "database_url" in getattr(item, "fixturenames", ()) or bool(_MAKERS & vars(module).keys())


@pytest.fixture(scope="session", autouse=True)
def _logs() -> None:
    configure_logs("error", "json")


@pytest.fixture(scope="session")
def shared_upstream() -> Iterator[ProtocolServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def upstream(shared_upstream: ProtocolServer) -> ProtocolServer:
    """The model side of all tests: one protocol server, emptied for each."""
    shared_upstream.reset()
    return shared_upstream


@pytest.fixture
def database_url() -> Iterator[str]:
    yield from fresh_database(migrate)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The database without an application around it."""
    database = Database(database_url)
    await database.start()
    yield database
    await database.close()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return make_settings(database_url, tmp_path)


def make_settings(database_url: str, data_dir: Path, **changes: Any) -> Settings:
    """Nothing is read from the developer's .env."""
    llm = LLMSettings(_env_file=None)
    wanted = {"worker_enabled": False, "database_url": database_url, "data_dir": data_dir, "llm": llm, **changes}
    return Settings(_env_file=None, **wanted)


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    """The application with its lifespan."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def as_user(app: FastAPI) -> AsyncIterator[AsUser]:
    """`as_user("a")` is a client by which person a calls; `as_user()` says nothing about who is calling."""
    async with AsyncExitStack() as stack:
        clients: dict[str | None, AsyncClient] = {}

        def client_of(name: str | None = None) -> AsyncClient:
            if name not in clients:
                clients[name] = AsyncClient(
                    transport=ASGITransport(app=app, raise_app_exceptions=False),
                    base_url=f"http://litevault.test{API}",
                    headers={"X-Dev-User-Id": name} if name else {},
                )
                stack.push_async_callback(clients[name].aclose)
            return clients[name]

        yield client_of


@pytest.fixture
def client(as_user: AsUser) -> AsyncClient:
    """Person a."""
    return as_user("a")


@pytest.fixture
def set_columns(app: FastAPI) -> SetColumns:
    """Writes an item's columns as the worker would, the fence moved on."""

    async def set_columns(item_id: str, **values: object) -> None:
        await write_columns(app.state.database, item_id, **values)

    return set_columns


async def write_columns(database: Database, item_id: str, **values: object) -> None:
    def write(session: Any) -> None:
        item = session.get(Item, item_id)
        for name, value in values.items():
            setattr(item, name, value)

    await database.write(write)


def suggestions(*names: str) -> list[Json]:
    return [{"id": new_id(), "name": name, "status": "PENDING"} for name in names]


@pytest.fixture
def enriched(client: AsyncClient, set_columns: SetColumns) -> Callable[..., Awaitable[Json]]:
    """An item of person a in READY_TO_CONFIRM: title, summary and the tags python and testing are proposed."""

    async def make(*tags: str, text: str = "Some text", **body: object) -> Json:
        item = await create(client, text, **body)
        await set_columns(
            item["id"],
            status="READY_TO_CONFIRM",
            title="A title",
            summary="A summary",
            source_type="NOTE",
            suggestions=suggestions(*(tags or ("python", "testing"))),
            enrichment={"provider": "stub", "model": "stub", "promptVersion": "1", "coverage": 1.0, "cached": False},
        )
        return dict((await client.get(f"/items/{item['id']}")).json())

    return make


@pytest.fixture
def failed(client: AsyncClient, set_columns: SetColumns) -> Callable[..., Awaitable[Json]]:
    """An item of person a in FAILED."""

    async def make(code: str = "LLM_TIMEOUT") -> Json:
        item = await create(client)
        await set_columns(item["id"], status="FAILED", enrichment_error=f"{code}: The model did not answer in time.")
        return dict((await client.get(f"/items/{item['id']}")).json())

    return make


async def create(client: AsyncClient, text: str = "Some text", **body: object) -> Json:
    answer = await client.post("/items", json={"rawText": text, **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def code_of(answer: Any) -> str:
    """The code in the error envelope."""
    return str(answer.json()["error"]["code"])


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The address of a real server on the loopback interface, in a thread of this process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        config = uvicorn.Config(
            create_app(settings), log_config=None, access_log=False, timeout_graceful_shutdown=2, lifespan="on"
        )
        server = uvicorn.Server(config)
        started = threading.Event()
        server.startup = _then(server.startup, started)  # type: ignore[assignment, method-assign]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        assert started.wait(20), "the server did not start"
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


def _then(startup: _Startup, started: threading.Event) -> _Startup:
    async def start_and_tell(sockets: list[socket.socket] | None = None) -> None:
        await startup(sockets)
        started.set()

    return start_and_tell


@pytest.fixture
def server_url(settings: Settings) -> Iterator[str]:
    with served(settings) as url:
        yield url


@pytest.fixture
def processes(tmp_path: Path, database_url: str) -> Iterator[Processes]:
    """Starts servers and workers as processes of their own, on one fresh database."""
    processes = Processes(tmp_path, database_url)
    yield processes
    processes.close()
