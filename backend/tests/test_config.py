"""The settings, as the environment and `.env` give them, and the list of them in `.env.example`."""

import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import make_url

from app.cli.variables import known_variables, unknown_variables
from app.config import load_settings
from app.errors import SettingsRefused, StartRefused
from tests.bare_environment import bare_environment, read_from  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / ".env.example"
_LINE = re.compile(r"#(\w+)=(.*)")
pytestmark = pytest.mark.usefixtures("bare_environment")


def listed() -> dict[str, str]:
    """Name → value in `.env.example`, in which every setting is commented out."""
    found = (_LINE.fullmatch(line) for line in EXAMPLE.read_text().splitlines())
    return {match[1]: match[2] for match in found if match}


def test_the_example_lists_every_setting_once() -> None:
    names = [match[1] for line in EXAMPLE.read_text().splitlines() if (match := _LINE.fullmatch(line))]
    assert sorted(names) == sorted(known_variables())


def test_the_example_gives_each_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("\n".join(f"{name}={value}" for name, value in listed().items()))
    defaults = load_settings()
    read_from(monkeypatch, file)
    assert load_settings() == defaults


def test_the_example_leaves_empty_only_what_has_no_default_to_write() -> None:
    settings = load_settings()
    empty = {name for name, value in listed().items() if not value}
    values = {**settings.model_dump(), **{f"llm_{name}": value for name, value in settings.llm.model_dump().items()}}
    unset = {name.removeprefix("llm_").upper() for name, value in values.items() if value in (None, [])}
    assert {name.removeprefix("LITEVAULT_").removeprefix("LLM_") for name in empty} == unset | {"DATA_DIR"}


def test_the_example_explains_each_setting_in_the_line_above() -> None:
    lines = EXAMPLE.read_text().splitlines()
    bare_lines = [line for above, line in pairwise(lines) if _LINE.match(line) and not above]
    assert bare_lines == []


def test_the_example_copied_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = load_settings()
    shutil.copy(ROOT / "backend/.env.example", tmp_path / ".env")
    read_from(monkeypatch, tmp_path / ".env")
    assert load_settings() == defaults
    assert (ROOT / "backend/.env.example").read_text() == EXAMPLE.read_text()


NUMBERS = {
    "LITEVAULT_PORT": ["0", "65536", "80.5"],
    "LITEVAULT_MAX_BODY_BYTES": ["1023", "1e3"],
    "LITEVAULT_QUERY_TIMEOUT_SECONDS": ["0", "3601"],
    "LITEVAULT_QUERY_CONCURRENCY": ["0", "1001"],
    "LITEVAULT_WORKER_LEASE_SECONDS": ["0.5", "3601"],
    "LITEVAULT_WORKER_DRAIN_SECONDS": ["-1", "601"],
    "LITEVAULT_WORKER_POLL_SECONDS": ["0", "3601"],
    "LITEVAULT_ITEMS_PER_DAY": ["-1", "1000001"],
    "LITEVAULT_QUERIES_PER_DAY": ["-1", "1000001"],
    "LITEVAULT_QUERIES_AT_ONCE": ["-1", "10001"],
    "LITEVAULT_KEEP_IDEMPOTENCY_KEYS_DAYS": ["-1", "36501"],
    "LITEVAULT_KEEP_DISCARDED_ITEMS_DAYS": ["-1", "36501"],
    "LITEVAULT_KEEP_HISTORY_DAYS": ["-1", "36501"],
    "LITEVAULT_KEEP_LEDGER_DAYS": ["-1", "36501"],
    "LITEVAULT_KEEP_QUERIES_DAYS": ["-1", "36501"],
    "LITEVAULT_WORKER_MAX_ATTEMPTS": ["0", "101"],
    "LITEVAULT_WORKER_BACKOFF_SECONDS": ["-1", "3601"],
    "LITEVAULT_WORKER_BACKOFF_MAX_SECONDS": ["-1", "86401"],
    "LITEVAULT_LLM_TEMPERATURE": ["-0.1", "2.1"],
    "LITEVAULT_LLM_MAX_TOKENS": ["63", "200001"],
    "LITEVAULT_LLM_TIMEOUT_SECONDS": ["0", "3601"],
    "LITEVAULT_LLM_MAX_RETRIES": ["-1", "11"],
    "LITEVAULT_LLM_CONCURRENCY": ["0", "1001"],
    "LITEVAULT_LLM_CIRCUIT_FAULTS": ["0", "1001"],
    "LITEVAULT_LLM_STUB_DELAY_SECONDS": ["-1", "3601"],
    "LITEVAULT_LLM_STUB_FAILURE_RATE": ["-0.1", "1.1"],
    "LITEVAULT_LLM_HEALTH_SECONDS": ["0.5", "3601"],
}
WORDS = {
    "LITEVAULT_ENVIRONMENT": ["staging"],
    "LITEVAULT_DEV_AUTH": ["perhaps"],
    "LITEVAULT_DEV_ROLE": ["root"],
    "LITEVAULT_LOG_LEVEL": ["loud"],
    "LITEVAULT_LLM_PROVIDER": ["openai"],
    "LITEVAULT_LLM_STRUCTURED_MODE": ["yaml"],
    "LITEVAULT_LLM_STUB_FAILURE": ["LLM_TIRED"],
    "LITEVAULT_LLM_API_BASE": ["localhost:11434"],
    "LITEVAULT_LLM_ALLOWED_HOSTS": ["http://10.0.0.1", "10.0.0.1/8", "a b"],
    "LITEVAULT_SECRET_KEYS": ["geheim"],
    "LITEVAULT_ALERT_URLS": ["someone@example.org", "json://a.example,b"],
    "LITEVAULT_LLM": ["{}}"],
}


def test_every_number_has_a_bad_value_here() -> None:
    settings = load_settings()
    own = {f"LITEVAULT_{name.upper()}" for name, value in settings if type(value) in (int, float)}
    llm = {f"LITEVAULT_LLM_{name.upper()}" for name, value in settings.llm if type(value) in (int, float)}
    assert set(NUMBERS) == own | llm


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in NUMBERS.items() for value in [*values, "abc", "nan", "inf"]]
    + [(name, value) for name, values in WORDS.items() for value in values],
)
def test_a_bad_value_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsRefused) as refusal:
        load_settings()
    assert [complaint.split(": ")[0] for complaint in refusal.value.complaints] == [name]
    assert "\n" not in str(refusal.value)


def test_all_bad_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEVAULT_PORT", "abc")
    monkeypatch.setenv("LITEVAULT_LLM_MAX_TOKENS", "few")
    with pytest.raises(StartRefused, match=r"LITEVAULT_LLM_MAX_TOKENS: .*; LITEVAULT_PORT: "):
        load_settings()


def test_a_list_is_split_at_its_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEVAULT_LLM_FALLBACK_MODELS", " openai/gpt-4o ,, anthropic/claude-haiku-4-5,")
    assert load_settings().llm.fallback_models == ["openai/gpt-4o", "anthropic/claude-haiku-4-5"]


def test_a_model_named_twice_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEVAULT_LLM_FALLBACK_MODELS", "openai/gpt-4o,openai/gpt-4o-mini,openai/gpt-4o")
    assert load_settings().llm.models == ["openai/gpt-4o-mini", "openai/gpt-4o"]


@pytest.mark.parametrize("name", known_variables())
def test_empty_is_the_same_as_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    defaults = load_settings()
    monkeypatch.setenv(name, "")
    assert load_settings() == defaults


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("postgres://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql://u:p@h:5433/d", "postgresql+asyncpg://u:p@h:5433/d"),
        ("postgresql+asyncpg://u:p%40@h/d", "postgresql+asyncpg://u:p%40@h/d"),
        ("postgres://u@h/d?sslmode=require", "postgresql+asyncpg://u@h/d?ssl=require"),
        ("postgresql:///d?host=/run/postgresql", "postgresql+asyncpg:///d?host=%2Frun%2Fpostgresql"),
        ("sqlite:////tmp/a.db", "sqlite+aiosqlite:////tmp/a.db"),
        ("sqlite+aiosqlite:////tmp/a.db", "sqlite+aiosqlite:////tmp/a.db"),
        ("sqlite:///a.db", f"sqlite+aiosqlite:///{Path.cwd() / 'a.db'}"),
    ],
)
def test_the_usual_forms_of_a_database_url(monkeypatch: pytest.MonkeyPatch, written: str, used: str) -> None:
    monkeypatch.setenv("LITEVAULT_DATABASE_URL", written)
    assert make_url(load_settings().resolved_database_url) == make_url(used)


@pytest.mark.parametrize(
    "written",
    [
        "mysql://u:geheim@h/d",
        "postgresql+psycopg://u:geheim@h/d",
        "postgresql://u:geheim@h:port/d",
        "postgresql://u:geheim@h/d?channel_binding=require",
        "postgresql://u:geheim@h/d?sslmode=geheim",
        "postgresql://u:geheim@h/d?statement_cache_size=0",
        "geheim",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////tmp/a.db?mode=ro",
    ],
)
def test_other_database_urls_are_refused_without_repeating_them(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("LITEVAULT_DATABASE_URL", written)
    with pytest.raises(StartRefused, match=r"^LITEVAULT_DATABASE_URL: ") as refusal:
        load_settings()
    assert "geheim" not in str(refusal.value)


def test_the_data_folder_may_be_below_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEVAULT_DATA_DIR", "~/vault")
    assert load_settings().data_dir == Path.home() / "vault"


def test_production_refuses_the_development_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEVAULT_ENVIRONMENT", "production")
    assert not load_settings().dev_auth_allowed
    monkeypatch.setenv("LITEVAULT_DEV_AUTH", "true")
    with pytest.raises(StartRefused, match="LITEVAULT_DEV_AUTH"):
        load_settings()


def test_a_secret_is_in_no_repr_and_no_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "sk-geheim")
    monkeypatch.setenv("LITEVAULT_DATABASE_URL", "postgresql://u:geheim@h/d")
    monkeypatch.setenv("LITEVAULT_LLM_API_BASE", "https://u:geheim@h/v1")
    settings = load_settings()
    assert "geheim" not in f"{settings!r} {settings} {settings.llm!r}"
    assert settings.llm.openai_api_key is not None
    assert settings.llm.openai_api_key.get_secret_value() == "sk-geheim"


def test_a_file_that_is_no_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_bytes(b"LITEVAULT_HOST=\xff\xfe")
    read_from(monkeypatch, tmp_path / ".env")
    with pytest.raises(StartRefused, match=r"\.env cannot be read"):
        load_settings()


def test_both_files_are_read_from_any_folder_and_the_backend_wins(tmp_path: Path) -> None:
    """In a checkout of its own: where the files lie is decided at import."""
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    (checkout / "backend/app").mkdir(parents=True)
    elsewhere.mkdir()
    (checkout / "pyproject.toml").touch()
    for name in ("__init__.py", "config.py", "errors.py"):
        shutil.copy(ROOT / "backend/app" / name, checkout / "backend/app" / name)
    (checkout / ".env").write_text("LITEVAULT_PORT=1001\nLITEVAULT_HOST=10.0.0.1\nOPENAI_API_KEY=sk-root\n")
    (checkout / "backend/.env").write_text("LITEVAULT_PORT=1002\nLITEVAULT_LLM_PROVIDER=litellm\n")
    told = "from app.config import load_settings as s; s = s(); print(s.port, s.host, s.llm.provider, s.data_dir)"
    environment = {**os.environ, "PYTHONPATH": str(checkout / "backend")}
    command = [sys.executable, "-c", told]
    answer = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["1002", "10.0.0.1", "litellm", str(checkout / "data")]


def test_a_misspelt_setting_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEVAULT_LLM_MODLE", "x")
    monkeypatch.setenv("LITEVAULT_QQQQQQ", "x")
    sentences = "\n".join(unknown_variables())
    assert "LITEVAULT_LLM_MODLE in the environment is no setting: did you mean LITEVAULT_LLM_MODEL?" in sentences
    assert "LITEVAULT_QQQQQQ in the environment is no setting: see .env.example" in sentences


def test_a_misspelt_setting_is_found_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("LITEVAULT_PROT=1\nSOMETHING_ELSE=1\n")
    monkeypatch.setattr("app.cli.variables.ENV_FILES", (tmp_path / ".env", tmp_path / "none"))
    assert unknown_variables() == [f"LITEVAULT_PROT in {tmp_path / '.env'} is no setting: did you mean LITEVAULT_PORT?"]
