"""`litevault prompts`: what is listed, shown and compared, and which cases hold, by the stub and by a model."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli.commands import app
from app.cli.prompts import open_prompts
from app.config import load_settings
from app.database import Database
from app.logs import configure_logs
from app.prompts import versions
from app.prompts.files import SHIPPED, load_templates
from app.prompts.registry import PromptRegistry, following
from tests.bare_environment import bare_environment  # noqa: F401 - a fixture
from tests.prompts.test_templates import GOOD
from tests.protocol_server.server import ProtocolServer

Run = Callable[..., Result]


@pytest.fixture
def run(bare_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:  # noqa: F811
    """`run("list", PROMPTS_DIR=…)` is `litevault prompts list` with an empty data folder and this setting."""

    def run(*arguments: str, **settings: object) -> Result:
        for name, value in {"DATA_DIR": tmp_path / "data", **settings}.items():
            monkeypatch.setenv(f"LITEVAULT_{name}", str(value))
        return CliRunner().invoke(app, ["prompts", *arguments])

    yield run
    configure_logs("error", "json")


@pytest.fixture
async def two_versions(database_url: str, database: Database) -> str:
    """The URL of a database in which an admin has changed the prompt `query`."""
    loaded = load_templates()
    async with following(database, PromptRegistry(loaded, "development")):
        own = loaded.templates["query"].model_copy(update={"user": "Asked: {{ question }}"})
        await database.write(lambda s: versions.change_prompt(s, own, loaded.messages, "0" * 36))
    return database_url


def test_without_a_database_the_files_are_listed(run: Run, tmp_path: Path) -> None:
    result = run("list", "--json")
    assert {prompt["id"]: prompt["version"] for prompt in json.loads(result.stdout)}["enrichment"] == 1
    assert not (tmp_path / "data").exists()


def test_the_list_is_a_table(run: Run) -> None:
    assert "image_prompt/1" in run("list").stdout


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_template_is_shown_with_the_messages_that_it_composes(run: Run, options: list[str]) -> None:
    shown = run("show", "query", *options).stdout
    assert "query/1" in shown and "{{ question }}" in shown and "You answer questions plainly" in shown


def test_what_is_not_there_is_told_in_one_line(run: Run) -> None:
    result = run("show", "query", "--version", "7")
    assert result.exit_code == 2 and "there is no prompt query/7" in result.output


async def test_versions_of_the_database_are_read(two_versions: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEVAULT_DATABASE_URL", two_versions)
    found = await asyncio.to_thread(run, "diff", "query", "1", "2")
    assert "+  user: 'Asked: {{ question }}'" in found.stdout
    as_json = json.loads((await asyncio.to_thread(run, "diff", "query", "1", "2", "--json")).stdout)
    assert as_json["changes"] == [{"path": "body.user", "kind": "changed"}]
    assert (await asyncio.to_thread(open_prompts, load_settings())).get("query").version == 2


def test_equal_versions_are_said_to_be_equal(run: Run) -> None:
    assert run("diff", "query", "1", "1").stdout == "query/1 and query/1 are equal\n"


def test_the_cases_of_what_ships_hold(run: Run) -> None:
    result = run("test")
    assert (result.exit_code, result.stdout) == (0, "14 of 14 cases hold\n")


def test_a_case_that_fails_is_a_line_and_exit_code_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        GOOD + "    stub_answer: Go away\n    expect: {user: [Bob], answer: {absent: [Go]}}\n"
    )
    result = run("test", "greeting", PROMPTS_DIR=tmp_path)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "✗ greeting/1, warm: 'Bob' is not in the user part; 'Go' must not be in the answer",
        "0 of 1 cases hold",
    ]
    told = json.loads(run("test", "greeting", "--json", PROMPTS_DIR=tmp_path).stdout)
    assert (told["ok"], len(told["trials"][0]["complaints"])) == (False, 2)


async def test_a_file_that_is_not_yet_in_the_database_is_tried_too(
    two_versions: str, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    template = (SHIPPED / "enrichment.yaml").read_text()
    (tmp_path / "own.yaml").write_text(template.replace("\ncases:", "\nuser: Mind this.\n\ncases:"))
    monkeypatch.setenv("LITEVAULT_DATABASE_URL", two_versions)
    told = json.loads((await asyncio.to_thread(run, "test", "enrichment", "--json", PROMPTS_DIR=tmp_path)).stdout)
    assert {trial["prompt"] for trial in told["trials"]} == {"enrichment/1", "enrichment (file)"}


async def test_the_cases_of_the_file_are_tried(
    two_versions: str, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    template = (SHIPPED / "enrichment.yaml").read_text()
    (tmp_path / "own.yaml").write_text(template[: template.index("\ncases:")])
    monkeypatch.setenv("LITEVAULT_DATABASE_URL", two_versions)
    result = await asyncio.to_thread(run, "test", "enrichment", PROMPTS_DIR=tmp_path)
    assert result.stdout == "0 of 0 cases hold\n"


def test_a_broken_template_is_told_with_file_and_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(GOOD.replace("{{ name }}", "{{ nmae }}"))
    result = run("test", PROMPTS_DIR=tmp_path)
    assert result.exit_code == 2 and "own.yaml:12: user: nmae is no variable" in result.output


def test_live_needs_a_model(run: Run) -> None:
    result = run("test", "--live")
    assert result.exit_code == 2 and "LITEVAULT_LLM_PROVIDER=litellm" in result.output


@pytest.mark.slow
def test_live_asks_the_configured_model(run: Run, upstream: ProtocolServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    live = {"LLM_PROVIDER": "litellm", "LLM_API_BASE": upstream.base_url, "LLM_MAX_RETRIES": 0}
    well = run("test", "enrichment", "--live", **live)
    assert (well.exit_code, well.stdout) == (0, "2 of 2 cases hold\n")
    upstream.set_default("400_policy")
    failed = run("test", "image_prompt", "--live", **live)
    assert failed.exit_code == 1 and "declined to answer" in failed.stdout
    assert len(upstream.calls) == 4
