"""A name service that says what a test wants, and the shortest way to a provider."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from tests.conftest import Json

KEY = "sk-canary-9Zt4kWq1"
PUBLIC, PRIVATE = "93.184.216.34", "10.0.0.7"


class NameService:
    """Knows every name; each leads to `address` but for those in `known`."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.address = PUBLIC

    async def __call__(self, host: str, port: int) -> list[str]:
        found = self.known.get(host, [self.address])
        if not found:
            raise OSError(host, port)
        return found


@pytest.fixture
def names() -> NameService:
    return NameService()


@pytest.fixture
def known_names(app: FastAPI, names: NameService) -> NameService:
    """The application asks it where the names in base URLs lead."""
    app.state.providers = replace(app.state.providers, resolve=names)
    return names


def form(**changes: Any) -> Json:
    return {"name": "mine", "kind": "openai_compatible", "baseUrl": "https://models.example/v1", **changes}


@pytest.fixture
def register(client: AsyncClient, known_names: NameService) -> Callable[..., Awaitable[Json]]:
    """A provider with a key, by way of the API."""

    async def register(**changes: Any) -> Json:
        answer = await client.post("/llm/providers", json=form(apiKey=KEY, **changes))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    return register
