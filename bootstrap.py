#!/usr/bin/env python3
"""Runs LiteVault on a machine that has Python 3.11 and nothing else.

Finds uv, or installs the pinned release of it into `.uv/` beside this file, and hands over to it. It uses the
standard library only, and a syntax that older Pythons read, so that they too get a clear message.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
UV_VERSION = "0.13.8"
OLDEST_UV = (0, 9)
HOME = ROOT / ".uv" / UV_VERSION

USAGE = """usage: python3 bootstrap.py COMMAND [ARGUMENTS...]

  serve [...]   install what is missing, then `litevault serve ...`: http://127.0.0.1:8080
  test [...]    install what is missing, then `pytest ...`
  sync          install what is missing and stop
  run CMD ...   any other command in the project's environment
  uv ...        uv itself, for example `uv lock --check`"""

NO_INSTALLER = """this Python has neither venv nor pip, so uv cannot be installed. Do one of these, try again:
  Debian, Ubuntu:  apt-get install python3-venv
  elsewhere:       install uv (https://docs.astral.sh/uv) so that it is on the PATH"""

NO_DOWNLOAD = """uv could not be installed; pip's own message stands above. Usual causes: no network, a proxy
or mirror that pip was not told about (PIP_PROXY, PIP_INDEX_URL), no space left. With uv on the PATH this step
falls away."""


def say(message: str) -> None:
    print(f"bootstrap: {message}", file=sys.stderr, flush=True)


def fail(message: str) -> SystemExit:
    say(message)
    return SystemExit(1)


def is_recent_uv(program: str) -> bool:
    """Runs it: a version manager's shim may lie on the PATH and still have no uv behind it."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    found = re.match(r"uv (\d+)\.(\d+)", answer.stdout)
    return answer.returncode == 0 and found is not None and (int(found[1]), int(found[2])) >= OLDEST_UV


def find_uv() -> str | None:
    own = os.pathsep.join([str(HOME / "bin"), str(HOME / "Scripts")])
    for program in (shutil.which("uv"), shutil.which("uv", path=own)):
        if program and is_recent_uv(program):
            return program
    return None


def install_uv() -> str:
    say(f"installing uv {UV_VERSION} into {HOME.relative_to(ROOT)} (once)")
    shutil.rmtree(HOME, ignore_errors=True)
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # Debian ships venv without ensurepip, which then fails half-way: ask for both before trying.
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
        [python] = [path for path in (HOME / "bin/python", HOME / "Scripts/python.exe") if path.exists()]
        command = [str(python), *pip]
    elif importlib.util.find_spec("pip"):
        command = [sys.executable, *pip, "--target", str(HOME)]
    else:
        raise fail(NO_INSTALLER)
    if subprocess.run([*command, f"uv=={UV_VERSION}"], check=False).returncode != 0:
        raise fail(NO_DOWNLOAD)
    uv = find_uv()
    if uv is None:
        raise fail(f"uv was installed but does not run; remove {HOME.parent} and try again")
    return uv


def uv_arguments(command: str, rest: list[str]) -> list[str]:
    """The same packages for every command, so that going from one to the other installs nothing anew."""
    run = ["run", "--frozen", "--project", str(ROOT)]
    if command == "run" and not rest:
        raise fail("run: which command?")
    table = {
        "serve": [*run, "litevault", "serve", *rest],
        "test": [*run, "pytest", *rest],
        "sync": ["sync", "--frozen", "--project", str(ROOT), *rest],
        "run": [*run, "--", *rest],
        "uv": rest,
    }
    if command not in table:
        raise fail(f"unknown command: {command}\n\n{USAGE}")
    return table[command]


def uv_environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment.setdefault("UV_PYTHON_DOWNLOADS", "never")
    # Only for a new environment: an existing one would be made anew whenever another Python starts this file.
    if not (ROOT / ".venv").exists():
        environment.setdefault("UV_PYTHON", sys.executable)
    return environment


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts it with an older one must be told
        raise fail(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: try `python3.11 bootstrap.py`")
    command = uv_arguments(arguments[0], arguments[1:])
    uv = find_uv() or install_uv()
    if not (ROOT / ".venv").exists():
        say("installing the dependencies into .venv (once, about a minute)")
    # Replaces this process: signals reach uv, and uv passes them on to the server.
    os.execve(uv, [uv, *command], uv_environment())


if __name__ == "__main__":
    main(sys.argv[1:])
