"""The application with a worker, on the stub; and ways to ask it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.config import Settings
from app.main import create_app
from tests.conftest import Json, make_settings

QUERY = "/llm/query"
ASKED: Json = {"promptId": "query", "variables": {"question": "When does the ferry leave?"}}


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return make_settings(database_url, tmp_path, worker_enabled=True, worker_poll_seconds=60)


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


Ask = Callable[..., Any]


async def ask(client: AsyncClient, *, headers: dict[str, str] | None = None, **changes: Any) -> Any:
    return await client.post(QUERY, json={**ASKED, **changes}, headers=headers)


async def done(client: AsyncClient, **changes: Any) -> Json:
    answer = await ask(client, **changes)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def events_of(text: str) -> list[tuple[str, Json]]:
    """Name and data of each event of a stream."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], orjson.loads(fields["data"])))
    return found
