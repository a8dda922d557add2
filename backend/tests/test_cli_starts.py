"""What `serve` and `worker` say before, and instead of, their work: the parts that need no process of their own."""

import signal
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import typer
from sqlalchemy.exc import OperationalError

from app.cli import lone_worker
from app.cli.server import greeting, listen
from app.config import LLMSettings, Settings
from app.database_fault import name_of, refusal_of
from app.enrichment.provider_interface import EnrichmentProvider
from app.enrichment.stub_provider import StubProvider
from app.errors import StartRefused
from app.llm.gateway import Gateway
from app.logs import configure_logs
from app.prompts.registry import PromptRegistry
from tests.bare_environment import bare_environment  # noqa: F401 - a fixture
from tests.conftest import make_settings

URL = "postgresql+asyncpg://anna:geheim@db.example:5433/vault"


@pytest.mark.parametrize(
    ("host", "port", "named"),
    [("no-such-host.invalid", 8080, "LITEVAULT_HOST: "), ("192.0.2.1", 8080, "LITEVAULT_HOST: ")],
)
def test_an_address_that_cannot_be_is_a_bad_setting(host: str, port: int, named: str) -> None:
    with pytest.raises(StartRefused, match=f"^{named}{host} ") as refusal:
        listen(host, port)
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])  # noqa: S104 - not bound
def test_the_usual_addresses_can_be_listened_on(host: str) -> None:
    with listen(host, 0) as listener:
        assert listener.type is socket.SOCK_STREAM


def test_the_greeting_tells_where_on_what_and_what_next(database_url: str, tmp_path: Path) -> None:
    settings = make_settings(database_url, tmp_path, host="0.0.0.0", worker_enabled=True)  # noqa: S104 - not bound
    lines = greeting(settings).splitlines()
    assert lines[0].startswith("LiteVault listens on http://127.0.0.1:8080 ")
    assert lines[1] == f"  database  {name_of(database_url)}"
    assert lines[2] == "  provider  stub, which asks no model"
    assert lines[-1].startswith("Try:  curl http://127.0.0.1:8080/api/v1/items -H 'X-Dev-User-Id: me'")


def test_the_greeting_in_production_has_no_development_header(database_url: str, tmp_path: Path) -> None:
    llm = LLMSettings(_env_file=None, provider="litellm", fallback_models=["openai/gpt-4o"])
    told = greeting(make_settings(database_url, tmp_path, environment="production", host="::1", llm=llm))
    assert "X-Dev-User-Id" not in told
    assert "http://[::1]:8080/readyz" in told
    assert "litellm, openai/gpt-4o-mini, openai/gpt-4o" in told
    assert "litevault worker" in told


def _sqlite_error(name: str) -> OperationalError:
    error = sqlite3.OperationalError("it may say anything")
    error.sqlite_errorname = name
    return OperationalError(None, None, error)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (asyncpg.InvalidPasswordError("x"), "PostgreSQL at db.example:5433 does not let user anna in"),
        (asyncpg.InvalidCatalogNameError("x"), "has no database vault"),
        (asyncpg.InsufficientPrivilegeError("x"), "user anna may not change vault"),
        (asyncpg.CannotConnectNowError("x"), "is still starting or stopping"),
        (asyncpg.TooManyConnectionsError("x"), "has no connection left"),
        (asyncpg.DiskFullError("x"), r"cannot be used \(DiskFullError\)"),
        (socket.gaierror(-2, "x"), "has an unknown host name"),
        (TimeoutError(), "does not answer"),
        (OSError(113, "x"), r"cannot be reached \(OSError\)"),
    ],
)
def test_what_is_said_of_a_fault_of_postgresql(error: Exception, told: str) -> None:
    with pytest.raises(StartRefused, match=told) as refusal:
        raise refusal_of(error, URL)
    assert "geheim" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("SQLITE_READONLY_DIRECTORY", "is read-only for this user"),
        ("SQLITE_FULL", "has no room left on its disk"),
        ("SQLITE_BUSY", "is locked by another program"),
        ("SQLITE_CORRUPT", "is damaged"),
        ("SQLITE_IOERR_WRITE", "its disk reports an error"),
        ("SQLITE_MISUSE", r"cannot be used \(OperationalError\)"),
    ],
)
def test_what_is_said_of_a_fault_of_sqlite(name: str, told: str) -> None:
    with pytest.raises(StartRefused, match=f"/v.db.*{told}"):
        raise refusal_of(_sqlite_error(name), "sqlite+aiosqlite:////data/v.db")


def test_a_database_is_named_without_its_user() -> None:
    assert name_of(URL) == "PostgreSQL, vault at db.example:5433"
    assert name_of("postgresql+asyncpg:///vault?host=/run/pg") == "PostgreSQL, vault at /run/pg:5432"


class BrokenProvider(StubProvider):
    def allowance(self) -> int:
        raise RuntimeError("no word of this is shown")


def _broken(settings: LLMSettings, prompts: PromptRegistry, _gateway: Gateway) -> EnrichmentProvider:
    return BrokenProvider(settings, prompts)


@pytest.fixture
def own_signals() -> Iterator[None]:
    """A worker sets the process's handler of Ctrl-C, and its logs."""
    earlier = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, earlier)
    configure_logs("error", "json")


@pytest.mark.usefixtures("bare_environment", "own_signals")
def test_a_worker_that_dies_exits_with_1(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LITEVAULT_DATABASE_URL", settings.resolved_database_url)
    monkeypatch.setattr("app.main.build_provider", _broken)
    with pytest.raises(typer.Exit) as end:
        lone_worker.work()
    assert end.value.exit_code == 1
    assert "litevault: the worker died" in capsys.readouterr().err
