"""The command line within this process: help, migrate, check. What starts and stops is in test_cli_processes."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli.commands import app
from app.config import Settings
from app.logs import configure_logs
from app.worker.worker_lock import WorkerLock
from tests.bare_environment import bare_environment, without_settings  # noqa: F401 - a fixture
from tests.conftest import served

Run = Callable[..., Result]
AWAY = "postgresql://anna:geheim@127.0.0.1:1/vault"


@pytest.fixture
def port() -> Iterator[int]:
    """Taken: another socket holds it as long as the test runs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def run(bare_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:  # noqa: F811
    """`run("check", PORT=1)` is `LITEVAULT_PORT=1 litevault check` with an empty data folder."""

    def run(*arguments: str, **settings: object) -> Result:
        wanted = {"DATA_DIR": tmp_path / "data", "PORT": free_port(), **settings}
        for name, value in wanted.items():
            monkeypatch.setenv(f"LITEVAULT_{name}", str(value))
        return CliRunner().invoke(app, arguments)

    yield run
    configure_logs("error", "json")  # what the command set up writes into the runner's closed stream


def lines_of(result: Result, sign: str) -> list[str]:
    return [line[2:] for line in result.stdout.splitlines() if line.startswith(sign)]


def test_help_names_the_commands_and_the_exit_codes(run: Run) -> None:
    text = run("--help").stdout
    assert all(word in text for word in ("serve", "worker", "migrate", "check", ".env.example", "Exit codes"))


def test_version(run: Run) -> None:
    assert run("--version").stdout == "litevault 0.1.0\n"


def test_help_imports_nothing_of_the_application() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from app.cli.commands import app\n"
        "CliRunner().invoke(app, ['--help'])\n"
        "print({'litellm', 'fastapi', 'sqlalchemy', 'pydantic', 'uvicorn'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"


def test_migrate_tells_from_where_to_where(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "data/litevault.db"
    assert run("migrate", "--revision", "002").stdout == f"SQLite, {file}: empty → 002\n"
    assert run("migrate").stdout.startswith(f"SQLite, {file}: 002 → ")
    assert run("migrate").stdout.endswith(", nothing to do\n")


def test_migrate_knows_the_database_of_the_settings(run: Run, database_url: str) -> None:
    result = run("migrate", DATABASE_URL=database_url)
    assert result.exit_code == 0
    assert "nothing to do" in result.stdout


def test_migrate_refuses_a_revision_that_is_none(run: Run) -> None:
    result = run("migrate", "--revision", "999")
    assert result.exit_code == 2
    assert "no way to a revision 999; the newest is 0" in result.stderr


@pytest.mark.parametrize("command", ["migrate", "serve", "worker"])
def test_a_bad_setting_is_one_line_and_exit_code_2(run: Run, command: str) -> None:
    result = run(command, WORKER_LEASE_SECONDS="soon")
    assert result.exit_code == 2
    assert result.stderr.startswith("litevault: LITEVAULT_WORKER_LEASE_SECONDS: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["migrate", "worker"])
def test_a_database_that_is_away_is_one_line_without_the_password(run: Run, command: str) -> None:
    result = run(command, DATABASE_URL=AWAY)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("litevault: PostgreSQL at 127.0.0.1:1 refuses the connection")
    assert "geheim" not in result.output


def test_a_file_that_is_no_database_is_named(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "data/litevault.db"
    file.parent.mkdir()
    file.write_text("my diary, " * 1000)
    result = run("migrate")
    assert result.exit_code == 1
    assert result.stderr == f"litevault: {file} is no SQLite database: move it away, or change LITEVAULT_DATA_DIR\n"


def test_a_folder_in_the_place_of_the_database_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data/litevault.db").mkdir(parents=True)
    assert "litevault.db cannot be opened" in run("migrate").stderr


def test_a_data_folder_that_cannot_be_made_is_a_bad_setting(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("migrate", DATA_DIR=tmp_path / "file/data")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"litevault: the folder {tmp_path / 'file/data'} cannot be made ")
    assert "LITEVAULT_DATA_DIR" in result.stderr


def test_check_of_a_new_machine_finds_all_well_and_makes_nothing(run: Run, tmp_path: Path) -> None:
    result = run("check")
    assert result.exit_code == 0, result.output
    parts = ["settings", "data folder", "database", "migrations", "prompts", "provider", "tasks", "port", "worker"]
    assert [line[:11].rstrip() for line in lines_of(result, "✓")] == parts
    assert list(tmp_path.iterdir()) == []


def test_check_of_a_migrated_database(run: Run, database_url: str) -> None:
    result = run("check", DATABASE_URL=database_url)
    assert result.exit_code == 0, result.output
    assert any(line.startswith("migrations") and line.endswith("the newest") for line in lines_of(result, "✓"))


def test_check_asks_for_missing_migrations(run: Run) -> None:
    run("migrate", "--revision", "002")
    result = run("check")
    assert result.exit_code == 1
    assert lines_of(result, "✗")[0].endswith("is needed: run litevault migrate")


def test_check_works_when_the_settings_do_not(run: Run) -> None:
    result = run("check", PORT="x", LLM_MAX_TOKENS="x", LLM_MODLE="x")
    assert result.exit_code == 1
    wrong = lines_of(result, "✗")
    assert [line[12:].split()[0].rstrip(":") for line in wrong] == [
        "LITEVAULT_LLM_MAX_TOKENS",
        "LITEVAULT_PORT",
        "LITEVAULT_LLM_MODLE",
    ]


def test_check_names_the_database_that_is_away(run: Run) -> None:
    result = run("check", DATABASE_URL=AWAY)
    assert result.exit_code == 1
    assert lines_of(result, "✗")[0].startswith("database    PostgreSQL at 127.0.0.1:1 refuses the connection")
    assert "geheim" not in result.output


def test_check_names_a_folder_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("check", DATA_DIR=tmp_path / "file/data")
    assert result.exit_code == 1
    assert "set LITEVAULT_DATA_DIR to a folder that is" in result.stdout


def test_check_names_a_port_in_use(run: Run, port: int) -> None:
    result = run("check", PORT=port)
    assert result.exit_code == 1
    assert lines_of(result, "✗") == [
        f"port        port {port} on 127.0.0.1 is in use: stop what listens there, or choose --port or LITEVAULT_PORT"
    ]


def test_check_knows_a_server_of_ours(run: Run, settings: Settings) -> None:
    with served(settings) as url:
        result = run("check", PORT=url.rsplit(":", 1)[1])
    assert result.exit_code == 0, result.output
    assert "LiteVault serves there already" in result.stdout


def test_check_tells_who_holds_the_worker_lock(run: Run, tmp_path: Path) -> None:
    run("migrate")
    lock = WorkerLock(tmp_path / "data/litevault.db")
    assert lock.try_acquire()
    result = run("check")
    lock.release()
    assert result.exit_code == 0
    assert "is held by process" in result.stdout or "is held by another process" in result.stdout


def test_check_tells_that_the_model_is_switched_off(run: Run) -> None:
    result = run("check", "--live", LLM_ENABLED="false", WORKER_ENABLED="false")
    assert "LITEVAULT_LLM_ENABLED is false: items wait" in result.stdout
    assert "run litevault worker" in result.stdout
    assert lines_of(result, "–") == ["live call   the stub asks nobody"]


def test_check_for_programs(run: Run, port: int) -> None:
    result = run("check", "--json", PORT=port)
    told = json.loads(result.stdout)
    assert told["ok"] is False
    assert [finding["part"] for finding in told["findings"] if not finding["is_well"]] == ["port"]


def test_check_of_the_stub_imports_no_vendor(tmp_path: Path) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from app.cli.commands import app\n"
        "CliRunner().invoke(app, ['check']); print({'litellm', 'instructor'} & set(sys.modules))"
    )
    environment = {**without_settings(), "LITEVAULT_DATA_DIR": str(tmp_path), "LITEVAULT_LLM_PROVIDER": "stub"}
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"
