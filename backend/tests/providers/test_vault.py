"""Credentials at rest: sealed for one provider at one address, under keys that can be changed while servers run."""

import asyncio
import dataclasses
import io
import logging
import re
import sqlite3
import stat
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from fastapi import FastAPI
from httpx import AsyncClient
from pydantic import SecretStr
from sqlalchemy import MetaData, select
from sqlalchemy.orm import Session

from app.database import Database
from app.errors import StartRefused
from app.logs import configure_logs
from app.providers.addresses import AddressPolicy
from app.providers.credentials.rotation import _replace, _Sealed, rotate
from app.providers.credentials.secret_keys import FileKeys, SettingsKeys, new_key
from app.providers.credentials.vault import Vault, VaultLocked
from app.providers.outbound import ConnectionGuard
from app.providers.probe import HttpProbe
from app.providers.provider_model import LLMProvider
from app.providers.registry import ProviderRegistry
from tests.conftest import Json
from tests.engines import chosen_engine
from tests.providers.conftest import KEY

Register = Callable[..., Awaitable[Json]]
HERE = {"provider_id": "p", "origin": "https://a.example:443"}
SECRET = SecretStr(KEY)


@pytest.fixture
def ring(tmp_path: Path) -> FileKeys:
    return FileKeys(tmp_path / "data")


def test_what_is_sealed_is_opened_and_not_to_be_read(ring: FileKeys) -> None:
    sealed = Vault(ring).seal(SECRET, **HERE)
    assert "canary" not in sealed
    assert Vault(ring).open(sealed, **HERE) == SECRET


@pytest.mark.parametrize("elsewhere", [{"provider_id": "q"}, {"origin": "https://evil.example:443"}])
def test_it_opens_for_no_other_provider_or_address(ring: FileKeys, elsewhere: dict[str, str]) -> None:
    sealed = Vault(ring).seal(SECRET, **HERE)
    with pytest.raises(VaultLocked):
        Vault(ring).open(sealed, **{**HERE, **elsewhere})


def test_other_keys_do_not_open_it(ring: FileKeys) -> None:
    sealed = Vault(ring).seal(SECRET, **HERE)
    with pytest.raises(VaultLocked):
        Vault(SettingsKeys([new_key()])).open(sealed, **HERE)


def test_the_file_is_its_owner_s_alone(ring: FileKeys, tmp_path: Path) -> None:
    ring.read()
    for file in (tmp_path / "data").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def first_key(folder: Path) -> str:
    return FileKeys(folder).read()[0]


@pytest.mark.slow
def test_processes_that_start_together_make_one_key(tmp_path: Path) -> None:
    with ProcessPoolExecutor(8) as processes:
        assert len(set(processes.map(first_key, [tmp_path / "data"] * 32))) == 1


@pytest.mark.parametrize("content", ["", "no key", f"{Fernet.generate_key().decode()}\nno key\n"])
def test_a_damaged_file_is_told_and_not_replaced(ring: FileKeys, tmp_path: Path, content: str) -> None:
    ring.read()
    (tmp_path / "data/secret.keys").write_text(content)
    with pytest.raises(StartRefused, match="restore it"):
        ring.read()
    assert (tmp_path / "data/secret.keys").read_text() == content


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret.keys").mkdir()
    with pytest.raises(StartRefused, match="cannot be read"):
        FileKeys(tmp_path).read()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(StartRefused, match="LITEVAULT_SECRET_KEYS"):
        FileKeys(tmp_path / "data/within").read()


def test_a_file_that_cannot_be_written_is_told_and_stays(ring: FileKeys, tmp_path: Path) -> None:
    keys = ring.read()
    (tmp_path / "data/secret.keys.new").mkdir()  # as a full disk would, it stops the writing
    with pytest.raises(StartRefused, match="cannot be written"):
        ring.advance()
    assert ring.read() == keys


def test_a_running_process_opens_what_another_sealed_after_a_rotation(ring: FileKeys) -> None:
    running = Vault(ring)
    running.open(running.seal(SECRET, **HERE), **HERE)
    ring.advance()
    assert running.open(Vault(ring).seal(SECRET, **HERE), **HERE) == SECRET


def test_a_running_process_seals_under_the_new_key_after_a_rotation(ring: FileKeys) -> None:
    running = Vault(ring)
    running.seal(SECRET, **HERE)
    ring.advance()
    assert running.reseal(running.seal(SECRET, **HERE)) is None


async def sealed_rows(database: Database) -> list[str | None]:
    return list(await database.read(lambda session: session.scalars(select(LLMProvider.sealed_key)).all()))


async def test_rotation_puts_every_credential_under_the_new_key_while_the_server_runs(
    app: FastAPI, client: AsyncClient, register: Register
) -> None:
    for name in ("a", "b", "c"):
        await register(name=name)
    access, database = app.state.providers, app.state.database
    old = access.vault._ring.read()
    told: list[int] = []
    # As another process would: its own vault on the same file.
    rotation = await rotate(database, Vault(access.vault._ring), lambda done: told.append(done.done))
    assert (rotation.total, rotation.resealed, rotation.unreadable, told) == (3, 3, [], [1, 2, 3])
    newest, *others = access.vault._ring.read()
    assert others == list(old)
    for sealed in await sealed_rows(database):
        Fernet(newest).decrypt(str(sealed))
    await register(name="d")
    assert {found.api_key for name, found in access.registry.snapshot().items() if name in "abcd"} == {SECRET}
    assert {p["version"] for p in (await client.get("/llm/providers")).json()["providers"]} == {1}


async def test_rotation_under_keys_of_the_settings_is_safe_to_repeat(app: FastAPI, register: Register) -> None:
    await register()
    access, database = app.state.providers, app.state.database
    keys = [new_key(), *access.vault._ring.read()]
    outcomes = [await rotate(database, Vault(SettingsKeys(keys)), lambda _: None) for _ in range(2)]
    assert [(found.resealed, found.unchanged) for found in outcomes] == [(1, 0), (0, 1)]


async def test_rotation_names_what_it_cannot_read_and_leaves_it(app: FastAPI, register: Register) -> None:
    await register()
    before = await sealed_rows(app.state.database)
    rotation = await rotate(app.state.database, Vault(SettingsKeys([new_key()])), lambda _: None)
    assert (rotation.unreadable, await sealed_rows(app.state.database)) == (["mine"], before)


async def test_a_key_that_an_admin_sets_during_a_rotation_stays(
    app: FastAPI, client: AsyncClient, register: Register
) -> None:
    made, database = await register(), app.state.database
    [old] = await sealed_rows(database)
    body = {"name": "mine", "kind": "openai_compatible", "baseUrl": made["baseUrl"], "version": 1, "apiKey": "sk-newer"}
    await client.put(f"/llm/providers/{made['id']}", json=body)
    newer = await sealed_rows(database)
    await database.write(lambda session: _replace(session, _Sealed(made["id"], "mine", str(old)), "resealed"))
    assert await sealed_rows(database) == newer


def dump(session: Session) -> str:
    """Everything that lies in the database."""
    metadata = MetaData()
    metadata.reflect(session.connection())
    return "\n".join(str(session.execute(select(table)).all()) for table in metadata.tables.values())


async def test_a_dump_holds_no_key_in_clear(
    app: FastAPI, client: AsyncClient, register: Register, tmp_path: Path
) -> None:
    await asyncio.gather(*(register(name=name) for name in ("a", "b")))
    content = await app.state.database.read(dump)
    assert "models.example" in content and "canary" not in content
    if chosen_engine() == "sqlite":
        path = app.state.database.sqlite_path
        sqlite3.connect(path).execute("PRAGMA wal_checkpoint(FULL)").connection.close()
        files = [file.read_bytes() for file in path.parent.iterdir() if file.is_file()]
        assert any(b"models.example" in found for found in files)
        assert not [found for found in files if b"canary" in found]


async def test_no_repr_holds_a_key(app: FastAPI, register: Register) -> None:
    await register()
    shown = repr(app.state.providers.registry.snapshot()) + repr(app.state.providers) + repr(app.state.providers.vault)
    assert "canary" not in shown and re.search(r"api_key=SecretStr\('\*+'\)", shown)


async def test_no_line_of_the_log_holds_a_key(app: FastAPI, client: AsyncClient, register: Register) -> None:
    """At debug, through success, refusal, a look at a dead provider, and a key that cannot be opened."""
    written = io.StringIO()
    configure_logs("debug", "json")
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    try:
        made = await register()
        await client.post("/llm/providers", json={**made, "apiKey": f"{KEY} "})
        await client.put(f"/llm/providers/{made['id']}", json={**made, "apiKey": KEY, "version": 9})
        found = app.state.providers.registry.snapshot()["mine"]
        probe = HttpProbe(ConnectionGuard(AddressPolicy.of(["127.0.0.1"])))
        await probe.ask(dataclasses.replace(found, base_url="http://127.0.0.1:1/v1"))
        await probe.close()
        await ProviderRegistry(app.state.database, Vault(SettingsKeys([new_key()])), {}).refresh()
    finally:
        configure_logs("error", "json")
    assert "provider.key_unreadable" in written.getvalue() and "canary" not in written.getvalue()
