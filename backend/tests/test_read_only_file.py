"""A SQLite file that this user may read and not write: the start is refused, not the first write."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bare_environment import without_settings
from tests.engines import chosen_engine
from tests.postgres_cluster import find_free_port

BACKEND = Path(__file__).resolve().parents[1]
# root may write everything unless it lays that right down.
UNPRIVILEGED = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chosen_engine() != "sqlite", reason="a fault of SQLite's file"),
    pytest.mark.skipif(bool(UNPRIVILEGED) and shutil.which("setpriv") is None, reason="root without setpriv"),
]


@pytest.fixture
def file(database_url: str) -> Path:
    path = Path(database_url.partition("///")[2])
    path.chmod(0o444)
    return path


def run(command: str, file: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    places = {
        "LITEVAULT_DATABASE_URL": f"sqlite:///{file}",
        "LITEVAULT_DATA_DIR": str(tmp_path),
        "LITEVAULT_PORT": str(find_free_port()),
    }
    return subprocess.run(
        [*UNPRIVILEGED, sys.executable, "-c", "from app.cli.commands import main; main()", command],
        cwd=BACKEND,
        env=without_settings() | places,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", ["serve", "worker", "migrate"])
def test_a_migrated_file_without_the_right_to_write_refuses_the_start(file: Path, tmp_path: Path, command: str) -> None:
    done = run(command, file, tmp_path)
    assert done.returncode == 1
    assert f"{file} is read-only for this user" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_check_tells_it_beforehand_and_changes_nothing(file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()
    done = run("check", file, tmp_path)
    assert done.returncode == 1
    [problem] = [line for line in done.stdout.splitlines() if line.startswith("✗")]
    assert f"{file} is read-only for this user" in problem
    assert file.read_bytes() == before
