"""A SQLite file that this user may read and not write: the start is refused, not the first write."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bare_environment import without_settings
from tests.engines import chosen_engine

BACKEND = Path(__file__).resolve().parents[1]
# root may write everything unless it lays that right down.
UNPRIVILEGED = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chosen_engine() != "sqlite", reason="a fault of SQLite's file"),
    pytest.mark.skipif(bool(UNPRIVILEGED) and shutil.which("setpriv") is None, reason="root without setpriv"),
]


@pytest.mark.parametrize("command", ["serve", "worker", "migrate"])
def test_a_migrated_file_without_the_right_to_write_refuses_the_start(
    database_url: str, tmp_path: Path, command: str
) -> None:
    file = Path(database_url.partition("///")[2])
    file.chmod(0o444)
    done = subprocess.run(
        [*UNPRIVILEGED, sys.executable, "-c", "from app.cli.commands import main; main()", command],
        cwd=BACKEND,
        env={**without_settings(), "LITEVAULT_DATABASE_URL": database_url, "LITEVAULT_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"{file} is read-only for this user" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
