"""The repository's documents as data: names, links, tables and shell commands, for the tests that hold them true."""

import json
import re
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BACKEND = ROOT / "backend"
APP = BACKEND / "app"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), *DECISIONS]

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_POLL_SECONDS, _PATIENCE_SECONDS = 0.05, 20.0


class CommandFailedError(AssertionError):
    """A documented command did not do what the document says; the message holds its output."""


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def blocks_of(text: str, language: str) -> list[str]:
    """The fenced blocks in this language; "" for those that name none."""
    return [body for found, body in _FENCED.findall(text) if found == language]


def commands_of(block: str) -> list[str]:
    """One entry a command: lines that end in a backslash go on."""
    return [line.strip() for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def commands_in_blocks(text: str) -> list[str]:
    """Of all fenced blocks, whatever language they name."""
    return [command for _, body in _FENCED.findall(text) for command in commands_of(body)]


def quoted(text: str) -> set[str]:
    """Whatever stands between backticks, outside fenced blocks."""
    return set(re.findall(r"`([^`\n]+)`", _FENCED.sub("", text)))


def links_of(text: str) -> set[str]:
    """The targets of links into the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return {target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")}


def rows_of(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below the heading, without its head."""
    section = text.split(f"{heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def module_exists(name: str) -> bool:
    """Whether a file or folder is there under the short name by which documents call it."""
    places = (ROOT, BACKEND, APP)
    return any(any(place.glob(name.rstrip("/"))) for place in places) or any(APP.rglob(name))


def layers() -> list[str]:
    """The rooms of the application that are built, from the top down, as the contract on imports has them."""
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    [contract] = [contract for contract in contracts if contract["type"] == "layers"]
    names = [name.strip(" ()") for layer in contract["layers"] for name in re.split(r"[|:]", layer)]
    return [name for name in names if (APP / name / "__init__.py").exists() or (APP / f"{name}.py").exists()]


def run_json(command: str, **replaced: str) -> dict[str, Any]:
    """What a documented command prints, as JSON; `replaced` are the places that a reader fills in."""
    for place, value in replaced.items():
        command = command.replace(place, value)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=30)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        raise CommandFailedError(f"{command}\n{done.stdout}{done.stderr}") from None


def run_json_until(command: str, word: str, **replaced: str) -> dict[str, Any]:
    """The same, asked again as a reader would, until the answer holds the word."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while word not in json.dumps(answer := run_json(command, **replaced)):
        if time.monotonic() > deadline:
            raise CommandFailedError(f"{command}\nnever said {word}, but {answer}")
        time.sleep(_POLL_SECONDS)
    return answer
