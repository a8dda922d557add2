"""What the log lets through: our own lines at the level asked for, other libraries' never below info."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from app.logs import configure_logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    configure_logs("error", "json")


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]


def speak() -> None:
    for name in ("aiosqlite", "app.items"):
        log = structlog.get_logger(name) if name.startswith("app") else logging.getLogger(name)
        for level in ("debug", "info", "warning"):
            getattr(log, level)(f"{name} {level}")


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["aiosqlite info", "aiosqlite warning", "app.items debug", "app.items info", "app.items warning"]),
        ("info", ["aiosqlite info", "aiosqlite warning", "app.items info", "app.items warning"]),
        ("warning", ["aiosqlite warning", "app.items warning"]),
        ("error", []),
    ],
)
def test_other_libraries_are_not_heard_below_info(
    capsys: pytest.CaptureFixture[str], level: str, heard: list[str]
) -> None:
    configure_logs(level, "json")
    speak()
    assert said(capsys) == heard
