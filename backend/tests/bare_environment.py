"""Settings as on a new machine: without the developer's variables and `.env`."""

import os
from pathlib import Path

import pytest

from app.config import LLMSettings, Settings


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(without_settings()):
        monkeypatch.delenv(name)
    read_from(monkeypatch)


def read_from(monkeypatch: pytest.MonkeyPatch, *files: Path) -> None:
    """Read these files where `.env` would be read."""
    for form in (Settings, LLMSettings):
        monkeypatch.setitem(form.model_config, "env_file", files)
    monkeypatch.setattr("app.cli.variables.ENV_FILES", files)


def without_settings() -> dict[str, str]:
    """This process's environment for another one; what the tests themselves are told stays."""
    return {name: value for name, value in os.environ.items() if not _is_setting(name)}


def _is_setting(name: str) -> bool:
    is_ours = name.startswith("LITEVAULT_") and not name.startswith("LITEVAULT_TEST_")
    return is_ours or name.endswith("_API_KEY")
