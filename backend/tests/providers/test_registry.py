"""The providers in memory: the database over the settings, changed at once here and soon in other processes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from pydantic import SecretStr
from sqlalchemy import update
from structlog.testing import capture_logs

from app.config import LLMSettings
from app.database import Database
from app.errors import ServiceUnavailable
from app.newswire import Newswire
from app.providers.credentials.secret_keys import SettingsKeys, new_key
from app.providers.credentials.vault import Vault
from app.providers.from_settings import providers_of
from app.providers.provider import HealthCheck, KeyState, ModelSpec, Provider, ProviderKind, ProviderSource
from app.providers.provider_model import LLMProvider
from app.providers.registry import ProviderRegistry
from tests.conftest import Json
from tests.providers.conftest import KEY

Register = Callable[..., Awaitable[Json]]


def llm(**values: object) -> LLMSettings:
    return LLMSettings(_env_file=None, **values)  # type: ignore[arg-type]


def test_with_the_stub_alone_there_is_only_the_stub() -> None:
    found = providers_of(llm(openai_api_key=SecretStr(KEY)))
    assert {name: provider.kind for name, provider in found.items()} == {"stub": ProviderKind.STUB}


def test_the_settings_make_the_providers_of_the_plan_and_of_the_keys() -> None:
    settings = llm(
        provider="litellm",
        model="gpt-4o-mini",
        fallback_models=["gemini/flash"],
        openai_api_key=SecretStr("o"),
        anthropic_api_key=SecretStr("a"),
    )
    found = providers_of(settings)
    assert {name: (p.kind, p.health_check) for name, p in found.items()} == {
        "stub": (ProviderKind.STUB, HealthCheck.MODELS),
        "openai": (ProviderKind.OPENAI, HealthCheck.MODELS),
        "gemini": (ProviderKind.LITELLM, HealthCheck.NONE),
        "anthropic": (ProviderKind.ANTHROPIC, HealthCheck.NONE),
    }
    assert (found["openai"].api_key, found["anthropic"].api_key) == (SecretStr("o"), SecretStr("a"))


@pytest.mark.parametrize(
    ("address", "allowed", "is_local"),
    [
        ("http://127.0.0.1:11434", [], True),
        ("http://localhost:11434", [], True),
        ("http://10.0.0.5", [], True),
        ("http://llm.lan", ["llm.lan"], True),
        ("https://models.example", [], False),
        ("https://1.1.1.1", [], False),
    ],
)
def test_only_an_address_of_one_s_own_is_local(address: str, allowed: list[str], *, is_local: bool) -> None:
    settings = llm(provider="litellm", model="ollama/tiny", api_base=address, allowed_hosts=allowed)
    found = providers_of(settings)["ollama"]
    assert (found.is_local, found.base_url, found.health_check) == (is_local, address, HealthCheck.OLLAMA_TAGS)


async def test_what_is_registered_is_there_at_once_with_its_models(app: FastAPI, register: Register) -> None:
    model = {"name": "small", "contextWindow": 8192, "inputPriceUsd": "0.00000015"}
    await register(models=[model], requestsPerMinute=7)
    found = app.state.providers.registry.snapshot()["mine"]
    assert found.model("small") == ModelSpec("small", context_window=8192, input_price_usd=Decimal("0.00000015"))
    assert (found.requests_per_minute, found.api_key, found.model("other")) == (7, SecretStr(KEY), None)


@pytest.fixture
async def other(app: FastAPI) -> AsyncIterator[ProviderRegistry]:
    """The registry of another process on the same database."""
    ours: Database = app.state.database
    database = Database(ours.url.render_as_string(hide_password=False))
    await database.start()
    newswire = Newswire(database)
    newswire.start()
    registry = ProviderRegistry(database, app.state.providers.vault, providers_of(llm()))
    async with registry.followed():
        yield registry
    await newswire.close()
    await database.close()


async def test_another_process_hears_of_each_change(
    client: AsyncClient, register: Register, other: ProviderRegistry
) -> None:
    changed = asyncio.Event()
    other.subscribe(changed.set)
    made = await register()
    async with asyncio.timeout(10):
        await changed.wait()
    assert other.snapshot()["mine"].api_key == SecretStr(KEY)
    changed.clear()
    await client.delete(f"/llm/providers/{made['id']}")
    async with asyncio.timeout(10):
        await changed.wait()
    assert "mine" not in other.snapshot()


async def test_what_is_not_ours_to_open_is_unreadable_and_told_once(app: FastAPI, register: Register) -> None:
    await register()
    registry = ProviderRegistry(app.state.database, Vault(SettingsKeys([new_key()])), {})
    with capture_logs() as lines:
        await registry.refresh()
        await registry.refresh()
    assert [line["event"] for line in lines] == ["provider.key_unreadable"]
    found = registry.snapshot()["mine"]
    assert (found.api_key, found.key_state) == (None, KeyState.UNREADABLE)


async def test_the_database_wins_over_the_settings_until_it_is_deleted(
    app: FastAPI, client: AsyncClient, register: Register
) -> None:
    own = Provider("mine", ProviderKind.OPENAI, source=ProviderSource.SETTINGS)
    registry = ProviderRegistry(app.state.database, app.state.providers.vault, {"mine": own})
    made = await register(isEnabled=False)
    await registry.refresh()
    assert (registry.snapshot()["mine"].source, registry.snapshot()["mine"].is_enabled) == ("database", False)
    await client.delete(f"/llm/providers/{made['id']}")
    await registry.refresh()
    assert registry.snapshot()["mine"] is own


async def test_a_row_of_another_release_is_left_out_and_the_others_stay(app: FastAPI, register: Register) -> None:
    await register(name="known")
    await register(name="newer")
    newer = update(LLMProvider).where(LLMProvider.name == "newer").values(health_check="telepathy", version=2)
    await app.state.database.write(lambda s: s.execute(newer) and None)
    settings = {"newer": Provider("newer", ProviderKind.OPENAI, source=ProviderSource.SETTINGS)}
    registry = ProviderRegistry(app.state.database, app.state.providers.vault, settings)
    with capture_logs() as lines:
        await registry.refresh()
        await register(name="third")
        await registry.refresh()
    assert set(registry.snapshot()) == {"known", "third"}
    assert "provider.unreadable" in {line["event"] for line in lines}


class Away(Database):
    """Cannot be read until `is_back`."""

    is_back = False

    async def read(self, work: object) -> object:  # type: ignore[override]
        if not self.is_back:
            raise ServiceUnavailable
        return []


async def test_a_database_that_is_away_leaves_the_settings_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Away("sqlite+aiosqlite:///nothing.db")
    tried = asyncio.Event()

    async def turn(seconds: float) -> None:
        tried.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("app.clock.sleep", turn)
    registry = ProviderRegistry(database, Vault(SettingsKeys([new_key()])), providers_of(llm()))
    async with registry.followed(), asyncio.timeout(5):
        assert set(registry.snapshot()) == {"stub"}
        await tried.wait()
