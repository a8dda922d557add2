"""The commands as processes of their own: how they start, refuse to start, and end."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.bare_environment import without_settings

BACKEND = Path(__file__).resolve().parents[1]
LITEVAULT = [sys.executable, "-c", "from app.cli.commands import main; main()"]
UVICORN = [sys.executable, "-m", "uvicorn", "app.main:app"]
ALEMBIC = [sys.executable, "-m", "alembic", "upgrade", "head"]
AWAY = "postgresql://anna:geheim@127.0.0.1:1/vault"
SECONDS = 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Commands:
    """Runs commands with settings of their own and an empty data folder."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.settings = {"DATA_DIR": str(folder / "data"), "PORT": str(self.port), "HOST": "127.0.0.1"}
        self.settings |= {"LLM_PROVIDER": "stub", "WORKER_ENABLED": "true", "ENVIRONMENT": "development"}

    def environment(self, **settings: str) -> dict[str, str]:
        named = {f"LITEVAULT_{name}": value for name, value in {**self.settings, **settings}.items()}
        return {**without_settings(), "PYTHONPATH": str(BACKEND), "PYTHONUNBUFFERED": "1", **named}

    def run(self, *command: str, cwd: Path = BACKEND, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = self.environment(**settings)
        return subprocess.run(
            command, env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=SECONDS
        )

    @contextmanager
    def running(self, *command: str, cwd: Path, until: str) -> Iterator[subprocess.Popen[str]]:
        """From the line on standard output that begins with `until` on; killed at the end if it still runs."""
        with subprocess.Popen(
            command, env=self.environment(), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                assert process.stdout is not None
                assert any(line.startswith(until) for line in iter(process.stdout.readline, ""))
                yield process
            finally:
                process.kill()


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_works_from_any_folder_and_ends_well_at_a_signal(
    commands: Commands, tmp_path: Path, number: signal.Signals
) -> None:
    with commands.running(*LITEVAULT, "serve", cwd=tmp_path, until="Try:") as process:
        answer = httpx.post(
            f"http://127.0.0.1:{commands.port}/api/v1/items", json={"rawText": "A note"}, headers={"X-Dev-User-Id": "a"}
        )
        assert answer.status_code == 201
        process.send_signal(number)
        assert process.wait(SECONDS) == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_worker_ends_well_at_a_signal(commands: Commands, tmp_path: Path, number: signal.Signals) -> None:
    with commands.running(*LITEVAULT, "worker", cwd=tmp_path, until="LiteVault's worker works on") as process:
        process.send_signal(number)
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize(
    "command", [[*LITEVAULT, "serve"], [*LITEVAULT, "worker"], UVICORN], ids=["serve", "worker", "uvicorn"]
)
def test_a_bad_setting_is_one_line(commands: Commands, command: list[str]) -> None:
    answer = commands.run(*command, PORT="abc")
    assert answer.returncode == 2
    assert answer.stderr.startswith("litevault: LITEVAULT_PORT: ")
    assert answer.stderr.count("\n") == 1


def test_a_bad_setting_is_one_line_of_alembic_too(commands: Commands) -> None:
    answer = commands.run(*ALEMBIC, PORT="abc")
    assert answer.returncode != 0
    assert "LITEVAULT_PORT: " in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [[*LITEVAULT, "serve"], UVICORN], ids=["serve", "uvicorn"])
def test_a_database_that_is_away_is_one_line_without_the_password(commands: Commands, command: list[str]) -> None:
    answer = commands.run(*command, DATABASE_URL=AWAY)
    output = answer.stdout + answer.stderr
    assert answer.returncode in (1, 3)  # 3 is uvicorn's own
    assert (
        output.count("PostgreSQL at 127.0.0.1:1 refuses the connection; start it, or mend LITEVAULT_DATABASE_URL") == 1
    )
    assert "Traceback" not in output
    assert "geheim" not in output


@pytest.mark.parametrize("option", [[], ["--reload"]], ids=["serve", "reload"])
def test_a_port_in_use_is_one_line(commands: Commands, option: list[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", commands.port)):
        answer = commands.run(*LITEVAULT, "serve", *option)
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"litevault: port {commands.port} on 127.0.0.1 is in use: ")
    assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_alembic_in_backend_and_litevault_elsewhere_share_the_default_database(tmp_path: Path) -> None:
    """The default is a place in the checkout, which no test may touch: both are asked where it is."""
    environment = {**without_settings(), "PYTHONPATH": str(BACKEND)}
    code = "from app.config import load_settings; print(load_settings().resolved_database_url)"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=cwd, capture_output=True, text=True, check=True
        ).stdout
        for cwd in (BACKEND, BACKEND.parent, tmp_path)
    }
    assert len(told) == 1


@pytest.mark.slow
def test_alembic_migrates_what_litevault_checks(commands: Commands) -> None:
    assert commands.run(*ALEMBIC).returncode == 0
    answer = commands.run(*LITEVAULT, "check", cwd=Path(os.sep))
    assert "the newest" in answer.stdout
    assert answer.returncode == 0
