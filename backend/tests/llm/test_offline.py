"""The stub and the mock behind the gateway: no key, no network, and on the books like any other."""

from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.accounts.privacy import Privacy
from app.config import LLMSettings
from app.enrichment.schemas import EnrichmentSchema
from app.errors import (
    LLMBadRequest,
    LLMDisabled,
    LLMInvalidAnswer,
    LLMModelNotFound,
    LLMPrivateText,
    LLMRateLimited,
    LLMTimeout,
)
from app.llm.call import Delta, Finished, Parameters
from app.llm.gateway import Gateway, build_gateway
from tests.llm.gateway_calls import chat
from tests.llm.recorder import Recorder

FIXTURES = """
- {task: chat, contains: harbour, answer: "The ferry leaves at nine."}
- {contains: slow, fails: LLM_TIMEOUT}
- {model: moody, fails: LLM_RATE_LIMITED}
- contains: file this
  answer: {title: Harbour, summary: A walk., tags: [ferry, port, sea], source_type: NOTE}
- {contains: wrong, answer: no JSON at all}
"""


@pytest.fixture
def stub() -> Gateway:
    return build_gateway(LLMSettings(_env_file=None))


@pytest.fixture
def mock(tmp_path: Path) -> Gateway:
    path = tmp_path / "fixtures.yaml"
    path.write_text(FIXTURES)
    return build_gateway(LLMSettings(_env_file=None, mock_fixtures=path))


async def test_the_stub_answers_whole_and_in_pieces(stub: Gateway) -> None:
    whole, recorder = await stub.complete(chat("How deep?"), Recorder()), Recorder()
    async with aclosing(stub.stream(chat("How deep?"), recorder)) as stream:
        *pieces, end = [event async for event in stream]
    assert whole.content == "The stub was asked: How deep?"
    assert len(pieces) > 1 and isinstance(end, Finished)
    assert "".join(piece.content for piece in pieces if isinstance(piece, Delta)) == whole.content
    assert (recorder.outcomes, recorder.attempts[0].usage.cost_usd) == (["OK"], Decimal(0))
    assert (whole.receipt.provider, whole.receipt.model) == ("stub", "stub/stub")


async def test_the_stub_writes_json_where_a_schema_asks_for_it(stub: Gateway) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 5},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
            "depth": {"anyOf": [{"type": "number", "minimum": 3}, {"type": "null"}]},
            "is_deep": {"type": ["boolean", "null"]},
            "nothing": {"type": "null"},
            "kind": {"const": "sea"},
        },
        "$defs": {"tag": {"enum": ["a", "b"]}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = await stub.complete(chat("How deep?", parameters=Parameters(response_format=wanted)))
    assert orjson.loads(answer.content) == {
        "name": "How d",
        "tags": ["a", "a"],
        "depth": 3,
        "is_deep": True,
        "nothing": None,
        "kind": "sea",
    }
    plain = await stub.complete(chat("How deep?", parameters=Parameters(response_format={"type": "json_object"})))
    assert orjson.loads(plain.content) == {"answer": "How deep?"}


async def test_the_mock_answers_from_its_fixtures(mock: Gateway) -> None:
    answer = await mock.complete(chat("To the harbour!", models=("mock/any",)))
    assert (answer.content, answer.receipt.provider) == ("The ferry leaves at nine.", "mock")
    filed = await mock.extract(chat("Please file this.", models=("mock/any",)), EnrichmentSchema)
    assert filed.content.title == "Harbour"


@pytest.mark.parametrize(
    ("text", "kind", "outcome"),
    [("slow", LLMTimeout, "ERROR"), ("wrong", LLMInvalidAnswer, "INVALID"), ("unforeseen", LLMModelNotFound, "ERROR")],
)
async def test_a_fault_of_the_mock_is_booked(text: str, kind: type[Exception], outcome: str, mock: Gateway) -> None:
    recorder = Recorder()
    with pytest.raises(kind):
        await mock.extract(chat(text, models=("mock/any",)), EnrichmentSchema, recorder)
    assert recorder.outcomes == [outcome]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"task": "nonsense"}, "task"),
        ({"models": ("nowhere/model",)}, "models"),
        ({"models": ("task:nonsense",)}, "models"),
        ({"prompt": ({"role": "user", "content": ""},)}, "messages"),
        ({"deadline_seconds": 0}, "deadline_seconds"),
        ({"parameters": Parameters(temperature=3)}, "temperature"),
        ({"parameters": Parameters(max_tokens=0)}, "max_tokens"),
        ({"parameters": Parameters(top_p=-1)}, "top_p"),
    ],
    ids=lambda part: part if isinstance(part, str) else None,
)
async def test_a_bad_request_names_its_field(change: dict[str, Any], field: str, stub: Gateway) -> None:
    with pytest.raises(LLMBadRequest) as caught:
        await stub.complete(chat(**change))
    assert caught.value.field == field
    assert caught.value.explain().endswith(".")


async def test_a_text_for_nobody_goes_nowhere(stub: Gateway) -> None:
    with pytest.raises(LLMPrivateText):
        await stub.complete(chat(privacy=Privacy.NONE))
    assert (await stub.complete(chat(privacy=Privacy.LOCAL_ONLY))).content


async def test_the_kill_switch_holds_for_every_entrance() -> None:
    off = build_gateway(LLMSettings(_env_file=None, enabled=False))
    with pytest.raises(LLMDisabled):
        await off.complete(chat())
    stand_in = build_gateway(LLMSettings(_env_file=None, enabled=False, disabled_mode="stub", provider="litellm"))
    assert (await stand_in.complete(chat())).receipt.provider == "stub"


async def test_a_fixture_may_be_of_one_model(mock: Gateway) -> None:
    with pytest.raises(LLMRateLimited):
        await mock.complete(chat("The harbour.", task="query", models=("mock/moody",)), Recorder())
