"""`litevault credentials`: new keys, and the rotation beside a running server."""

import sqlite3
from pathlib import Path

from pydantic import SecretStr

from app.config import is_secret_key
from app.providers.credentials.secret_keys import FileKeys, new_key
from app.providers.credentials.vault import Vault
from tests.bare_environment import bare_environment  # noqa: F401 - a fixture
from tests.test_cli import Run, run  # noqa: F401 - a fixture


def test_a_new_key_is_one_that_the_settings_take(run: Run) -> None:  # noqa: F811
    key = run("credentials", "new-key").stdout.strip()
    assert is_secret_key(key)
    assert run("credentials", "rotate", SECRET_KEYS=key).exit_code == 0


def test_where_nothing_is_stored_there_is_nothing_to_do(run: Run, tmp_path: Path) -> None:  # noqa: F811
    result = run("credentials", "rotate")
    assert (result.exit_code, result.stdout) == (0, "0 credentials: 0 under the new key now, 0 were already\n")
    assert not (tmp_path / "data/secret.keys").exists()


def store(path: Path, sealed: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "INSERT INTO llm_providers (id, name, kind, sealed_key, key_changed_at, created_at, updated_at)"
            " VALUES ('p', 'mine', 'openai', ?, ?, ?, ?)",
            (sealed, *["2026-01-01 00:00:00.000000"] * 3),
        )
    connection.close()


def test_rotation_tells_how_far_it_is_and_what_it_did(run: Run, tmp_path: Path) -> None:  # noqa: F811
    run("migrate")
    ring = FileKeys(tmp_path / "data")
    store(tmp_path / "data/litevault.db", Vault(ring).seal(SecretStr("k"), provider_id="p", origin="o"))
    result = run("credentials", "rotate")
    assert result.stdout == "1 of 1\n1 credentials: 1 under the new key now, 0 were already\n"
    assert (result.exit_code, len(ring.read())) == (0, 2)


def test_what_cannot_be_read_is_named_with_its_mend(run: Run, tmp_path: Path) -> None:  # noqa: F811
    run("migrate")
    store(tmp_path / "data/litevault.db", "gAAAA-of-another-key")
    result = run("credentials", "rotate", SECRET_KEYS=new_key())
    assert result.exit_code == 1 and "cannot be read: mine" in result.stderr and "apiKey" in result.stderr


def test_a_bad_key_is_refused_by_the_name_of_its_setting(run: Run) -> None:  # noqa: F811
    result = run("credentials", "rotate", SECRET_KEYS="geheim")
    assert result.exit_code == 2 and "LITEVAULT_SECRET_KEYS" in result.stderr and "geheim" not in result.stderr


def test_a_database_that_is_away_is_told_in_one_line(run: Run) -> None:  # noqa: F811
    result = run("credentials", "rotate", DATABASE_URL="postgresql://anna:geheim@127.0.0.1:1/vault")
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1 and "geheim" not in result.stderr


def test_the_program_explains_itself(run: Run) -> None:  # noqa: F811
    assert all(word in run("credentials", "--help").stdout for word in ("rotate", "new-key"))
