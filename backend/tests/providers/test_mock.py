"""The mock answers from fixtures: the first that fits, always the same, or with the failure that is asked for."""

from pathlib import Path

import pytest
from httpx import AsyncClient

from app.config import LLMSettings
from app.errors import LLMModelNotFound, LLMRateLimited, StartRefused
from app.providers.from_settings import providers_of
from app.providers.mock import MockAnswer, MockFixtures
from app.providers.provider import Provider
from tests.conftest import code_of
from tests.providers.conftest import NameService, form

FIXTURES = """
- task: enrichment
  contains: INVOICE
  answer: {title: An invoice, tags: [money]}
  input_tokens: 120
  output_tokens: 30
- task: enrichment
  fails: LLM_RATE_LIMITED
- model: echo
  answer: Plain words.
"""


def load(folder: Path, content: str = FIXTURES) -> MockFixtures:
    (folder / "fixtures.yaml").write_text(content)
    return MockFixtures.load(folder / "fixtures.yaml")


async def test_the_first_that_fits_answers_an_object_as_json(tmp_path: Path) -> None:
    answer = await load(tmp_path).answer(task="enrichment", model="any", text="An invoice of May")
    assert answer == MockAnswer('{"title":"An invoice","tags":["money"]}', 120, 30)


async def test_a_failure_is_raised_by_its_code(tmp_path: Path) -> None:
    with pytest.raises(LLMRateLimited):
        await load(tmp_path).answer(task="enrichment", model="any", text="A letter")


async def test_tokens_that_nobody_wrote_down_are_reckoned(tmp_path: Path) -> None:
    answer = await load(tmp_path).answer(task="query", model="echo", text="12345")
    assert answer == MockAnswer("Plain words.", 2, 3)


async def test_what_fits_no_fixture_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(LLMModelNotFound):
        await load(tmp_path).answer(task="query", model="other", text="x")


async def test_a_delay_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def turn(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("app.clock.sleep", turn)
    await load(tmp_path, "- {answer: x, delay_seconds: 2.5}").answer(task="t", model="m", text="x")
    assert waited == [2.5]


async def test_the_files_of_a_folder_are_tried_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("- answer: last")
    (tmp_path / "a.yaml").write_text("- {model: m, answer: first}")
    fixtures = MockFixtures.load(tmp_path)
    assert [(await fixtures.answer(task="t", model=model, text="")).text for model in "mn"] == ["first", "last"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "must hold a list"),
        ("a: 1", "must hold a list"),
        ("- answer: [", "line 1 is no YAML"),
        ("- {answer: a\n-", "line 2 is no YAML"),
        ("\x01", "is no YAML"),
        ("- {}", "entry 1 needs either answer or fails"),
        ("- answer: a\n- {answer: a, fails: LLM_TIMEOUT}", "entry 2 needs either answer or fails"),
        ("- fails: LLM_TIRED", "entry 1, fails: must be one of"),
        ("- {answer: a, delay: 1}", "entry 1, delay: Extra inputs"),
        ("- {answer: a, delay_seconds: -1}", "entry 1, delay_seconds: "),
        ("- text", "entry 1 Input should be"),
        ("[]", "there is no fixture"),
        ("- answer: 2026-99-99", "holds a value that is none of its type"),
        ("- answer: {1: x}", "entry 1, answer: cannot be written as JSON"),
        ("- answer: {a: !!binary aGk=}", "entry 1, answer: cannot be written as JSON"),
    ],
)
def test_a_damaged_file_is_told_by_place(tmp_path: Path, content: str, told: str) -> None:
    with pytest.raises(StartRefused, match=r"LITEVAULT_LLM_MOCK_FIXTURES: .*fixtures") as refusal:
        load(tmp_path, content)
    assert told in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="cannot be read"):
        MockFixtures.load(tmp_path / "none.yaml")


async def test_the_settings_make_the_mock_a_provider(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text("- answer: hello")
    mock: Provider = providers_of(LLMSettings(_env_file=None, mock_fixtures=tmp_path))["mock"]
    assert mock.fixtures is not None and mock.is_local
    assert (await mock.fixtures.answer(task="t", model="m", text="")).text == "hello"


async def test_nobody_registers_a_mock_over_the_api(client: AsyncClient, known_names: NameService) -> None:
    answers = [
        await client.post("/llm/providers", json=form(**change)) for change in ({"kind": "mock"}, {"name": "mock"})
    ]
    assert [(answer.status_code, code_of(answer)) for answer in answers] == [
        (422, "VALIDATION_ERROR"),
        (400, "VALIDATION_ERROR"),
    ]
