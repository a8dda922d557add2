"""The documents say what is so: their commands run, and whatever they name exists."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from fastapi import FastAPI

from app import errors
from app.cli import commands
from app.config import LLMSettings, Settings
from app.errors import ApiError, llm_errors
from tests.conftest import make_settings, served
from tests.documents import (
    APP,
    DECISIONS,
    DOCUMENTS,
    ROOT,
    blocks_of,
    commands_in_blocks,
    commands_of,
    layers,
    links_of,
    module_exists,
    name_of,
    quoted,
    rows_of,
    run_json,
    run_json_until,
    text_of,
)

PLANNING_TABLE = "## From the planning document to this house"
SETTING = re.compile(r"\bLITEVAULT_[A-Z_]*[A-Z]\b")
OF_THE_TESTS = {"LITEVAULT_TEST_DATABASE", "LITEVAULT_TEST_POSTGRES_URL"}
NO_SETTING = {"LITEVAULT_LLM"}  # and whoever sets it is told so
# Answers that no class of ours stands for: the framework's own, and what nobody foresaw.
FRAMEWORKS = {
    (404, "NOT_FOUND"),
    (405, "METHOD_NOT_ALLOWED"),
    (413, "PAYLOAD_TOO_LARGE"),
    (415, "UNSUPPORTED_MEDIA_TYPE"),
    (422, "VALIDATION_ERROR"),
    (500, "INTERNAL_ERROR"),
}

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


def settings_by_name() -> set[str]:
    keys = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY"}
    own = {f"LITEVAULT_{field.upper()}" for field in Settings.model_fields if field != "llm"}
    llm = {f"LITEVAULT_LLM_{field.upper()}" for field in LLMSettings.model_fields if field.upper() not in keys}
    return own | llm


@each_document
def test_links_lead_to_files_that_exist(document: Path) -> None:
    missing = {link for link in links_of(document.read_text()) if not (document.parent / link).exists()}
    assert not missing


@each_document
def test_files_that_are_named_exist(document: Path) -> None:
    text = document.read_text()
    if PLANNING_TABLE in text:
        # Its left column names files of the planning document's house, not of ours.
        head, table = text.split(PLANNING_TABLE)
        text = head + re.sub(r"^\|[^|]*\|", "|", table, flags=re.MULTILINE)
    named = {name for name in quoted(text) if re.fullmatch(r"[\w./*-]+\.(py|md|toml)|(app|tests|backend)/[\w/]*", name)}
    assert not {name for name in named if not module_exists(name)}


@each_document
def test_settings_that_are_named_exist(document: Path) -> None:
    assert set(SETTING.findall(document.read_text())) <= settings_by_name() | OF_THE_TESTS


def test_settings_that_the_program_names_in_its_sentences_exist() -> None:
    named = {name for file in APP.rglob("*.py") for name in SETTING.findall(file.read_text())}
    assert named <= settings_by_name() | NO_SETTING


@each_document
def test_commands_of_litevault_that_are_named_exist(document: Path) -> None:
    known = typer.main.get_command(commands.app).commands  # type: ignore[attr-defined]
    text = document.read_text()
    for call in [*quoted(text), *commands_in_blocks(text)]:
        for name, options in re.findall(r"(?:^|\s)litevault ([a-z]+)((?: --[\w-]+)*)", call):
            assert name in known
            assert set(options.split()) <= {option for parameter in known[name].params for option in parameter.opts}


@each_document
def test_targets_of_make_that_are_named_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    text = document.read_text()
    named = set(re.findall(r"`make ([a-z-]+)`", text)) | set(re.findall(r"^ +make ([a-z-]+)", text, re.MULTILINE))
    assert named <= targets


@each_document
def test_routes_that_are_named_exist(app: FastAPI, document: Path) -> None:
    paths = [*app.openapi()["paths"], "/docs", "/openapi.json"]
    patterns = [re.sub(r"\{\w+\}", "[^/]+", path) for path in paths]
    text = document.read_text()
    named = set(re.findall(r"/api/v1/[\w/]*\w", text)) | {name for name in quoted(text) if re.fullmatch(r"/\w+", name)}
    assert not {path for path in named if not any(re.fullmatch(pattern, path) for pattern in patterns)}


def test_every_answer_that_is_an_error_is_explained() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ApiError)}
    ours = {(kind.status, kind.code) for kind in kinds - {ApiError}}
    rows = rows_of(text_of("docs/errors.md"), "## Answers of the API")
    assert {(int(row[0]), row[1].strip("`")) for row in rows} == ours | FRAMEWORKS


def test_every_failure_of_an_item_is_explained() -> None:
    rows = rows_of(text_of("docs/errors.md"), "## Failures of an item")
    assert {row[0].strip("`") for row in rows} == set(llm_errors())


def test_the_order_of_the_rooms_is_the_one_that_is_checked() -> None:
    [picture] = [block for block in blocks_of(text_of("ARCHITECTURE.md"), "") if block.startswith("cli → ")]
    assert re.findall(r"\w+", picture) == layers()


@pytest.mark.parametrize(("name", "lines"), [("README.md", 100), ("ARCHITECTURE.md", 150)])
def test_what_everybody_reads_is_short(name: str, lines: int) -> None:
    assert len(text_of(name).splitlines()) <= lines


@pytest.mark.parametrize("decision", DECISIONS, ids=name_of)
def test_a_decision_is_short(decision: Path) -> None:
    assert len(decision.read_text().split()) <= 250


@pytest.fixture
def address(database_url: str, tmp_path: Path) -> Iterator[str]:
    """Of a server as the first command of the README starts it: the stub, and a worker in the same process."""
    with served(make_settings(database_url, tmp_path, worker_enabled=True)) as url:
        yield url.removeprefix("http://")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the steps are written for curl")
def test_the_first_steps_of_the_readme_lead_to_a_note_in_the_library(address: str) -> None:
    [steps] = [block for block in blocks_of(text_of("README.md"), "bash") if "curl" in block]
    capture, pending, confirm, search = commands_of(steps)
    here = {"localhost:8080": address}
    item = run_json(capture, **here)
    assert item["status"] == "ENRICHING"
    assert run_json_until(pending, "READY_TO_CONFIRM", **here)["total"] == 1
    assert run_json(confirm, ITEM_ID=item["id"], **here)["status"] == "ARCHIVED"
    assert [found["id"] for found in run_json(search, **here)["items"]] == [item["id"]]


def test_the_commands_of_the_readme_are_those_of_bootstrap() -> None:
    commands = set(re.findall(r"python3 bootstrap\.py (\w+)", text_of("README.md")))
    assert (
        {"serve", "test"} <= commands <= set(re.findall(r'^        "(\w+)": ', text_of("bootstrap.py"), re.MULTILINE))
    )


@pytest.mark.parametrize("file", [*DOCUMENTS, ROOT / "pyproject.toml", ROOT / "Makefile"], ids=name_of)
def test_no_file_knows_somebodys_machine(file: Path) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|work|Users)/", file.read_text())
