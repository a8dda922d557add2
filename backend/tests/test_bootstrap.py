"""bootstrap.py, from the outside: the command lines it would hand to uv, and what it says when it cannot."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BOOTSTRAP = Path(__file__).resolve().parents[2] / "bootstrap.py"

Run = Callable[..., subprocess.CompletedProcess[str]]

UV = """#!/bin/sh
if [ "$1" = --version ]; then echo "uv {version}"; exit 0; fi
printf '%s\\n' "$@"
echo "downloads=$UV_PYTHON_DOWNLOADS venv=${{VIRTUAL_ENV-none}}"
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A copy of the file in an empty folder, a uv of that version on the PATH, and a pip without network."""

    def run(*arguments: str, uv_version: str | None = "0.99.1") -> subprocess.CompletedProcess[str]:
        copy = tmp_path / "bootstrap.py"
        copy.write_text(BOOTSTRAP.read_text())
        if uv_version:
            uv = tmp_path / "bin" / "uv"
            uv.parent.mkdir()
            uv.write_text(UV.format(version=uv_version))
            uv.chmod(0o755)
        # An empty folder as the only source: pip fails as it does without a network, at once.
        offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "VIRTUAL_ENV": "/elsewhere"}
        environment = {**os.environ, **offline, "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
        command = [sys.executable, str(copy), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize(
    ("arguments", "handed_over"),
    [
        (
            ["serve", "--port", "1"],
            ["run", "--frozen", "--project", "ROOT", "litevault", "serve", "--port", "1"],
        ),
        (["test", "-k", "a b"], ["run", "--frozen", "--project", "ROOT", "pytest", "-k", "a b"]),
        (["sync"], ["sync", "--frozen", "--project", "ROOT"]),
        (["run", "ruff", "check"], ["run", "--frozen", "--project", "ROOT", "--", "ruff", "check"]),
        (["uv", "lock", "--check"], ["lock", "--check"]),
    ],
)
def test_hands_each_command_to_uv(run: Run, tmp_path: Path, arguments: list[str], handed_over: list[str]) -> None:
    lines = run(*arguments).stdout.splitlines()
    assert lines[:-1] == [str(tmp_path) if part == "ROOT" else part for part in handed_over]


def test_lets_uv_neither_fetch_a_python_nor_see_a_foreign_environment(run: Run) -> None:
    assert run("sync").stdout.splitlines()[-1] == "downloads=never venv=none"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_prints_its_commands_without_needing_uv(run: Run, arguments: list[str]) -> None:
    done = run(*arguments, uv_version=None)
    assert done.returncode == 0
    assert "serve" in done.stdout


@pytest.mark.parametrize(("arguments", "complaint"), [(["srve"], "unknown command: srve"), (["run"], "which")])
def test_refuses_what_it_does_not_know(run: Run, arguments: list[str], complaint: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert complaint in done.stderr


@pytest.mark.slow
def test_with_too_old_a_uv_and_without_network_says_what_to_do(run: Run) -> None:
    done = run("serve", uv_version="0.4.0")
    assert done.returncode == 1
    assert "Usual causes: no network" in done.stderr
    assert "Traceback" not in done.stderr


def test_can_be_read_by_the_pythons_it_turns_away() -> None:
    ast.parse(BOOTSTRAP.read_text(), feature_version=(3, 7))
