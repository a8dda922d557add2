"""What the model side decides by itself: faults by status, fences, starts, the check of the settings."""

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config import LLMSettings
from app.errors import (
    LLMApiError,
    LLMAuthRefused,
    LLMContentRefused,
    LLMContextTooLong,
    LLMError,
    LLMModelNotFound,
    LLMRateLimited,
    LLMUnreachable,
)
from app.llm.extraction import ModelFacts, provider_of
from app.llm.faults import codes_in, fault_of_status, retry_after_seconds
from app.llm.requests import tokens_of
from app.llm.vendors.answer_form import without_fence
from app.llm.vendors.model_check import live_problem, problems_of
from app.llm.vendors.starts import Starts, request_has_left
from tests.llm.conftest import MakeClient
from tests.llm.recorder import MODEL, llm_settings, request
from tests.protocol_server.server import ProtocolServer

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, None, LLMAuthRefused),
        (403, {"error": {"code": "unsupported_country"}}, LLMAuthRefused),
        (
            400,
            {"error": {"status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}},
            LLMAuthRefused,
        ),
        (400, [{"error": {"details": [{"reason": "API_KEY_INVALID"}]}}], LLMAuthRefused),
        (400, {"error": {"code": "context_length_exceeded"}}, LLMContextTooLong),
        (400, {"error": {"code": 400, "type": "exceed_context_size_error"}}, LLMContextTooLong),
        (413, None, LLMContextTooLong),
        (400, {"error": {"code": "content_filter"}}, LLMContentRefused),
        (400, {"error": {"code": "x", "innererror": {"code": "content_filter"}}}, LLMContentRefused),
        (404, {"type": "error", "error": {"type": "not_found_error"}}, LLMModelNotFound),
        (422, "text", LLMApiError),
        (402, None, LLMRateLimited),
        (429, None, LLMRateLimited),
        (408, None, LLMUnreachable),
        (409, None, LLMUnreachable),
        (500, None, LLMUnreachable),
        (529, {"error": {"type": "overloaded_error"}}, LLMUnreachable),
    ],
)
def test_a_refusal_is_told_by_its_status_and_its_code(status: int, body: object, kind: type[LLMError]) -> None:
    fault = fault_of_status(status, codes_in(body), None)
    assert type(fault) is kind
    assert fault.http_status == status


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["error", "code", "type", "details", "innererror"]), inner)
        ),
        max_leaves=20,
    )
)
def test_any_body_has_codes_or_none(body: object) -> None:
    assert all(isinstance(code, str) for code in codes_in(body))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("0.5", 0.5),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Sat, 21 Nov 2026 09:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 08:00:00 GMT", 0.0),
        ("Sat, 21 Nov 2026 09:00:30 -0000", 30.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('Here:\n```json\n{"a": 1}\n```\nDone.', '{"a": 1}\n'),
        ('```\n{"a": 1}\n```', '{"a": 1}\n'),
        ('{"a": "```json\\n{}\\n```"}', '{"a": "```json\\n{}\\n```"}'),
        ("```json\n{}\n```\nor\n```json\n[]\n```", "```json\n{}\n```\nor\n```json\n[]\n```"),
        ("prose", "prose"),
    ],
)
def test_only_the_one_fence_of_an_answer_is_read(text: str, inside: str) -> None:
    assert without_fence(text) == inside


def test_a_bare_model_name_is_openais() -> None:
    assert (provider_of("gpt-4o-mini"), provider_of("anthropic/claude-x")) == ("openai", "anthropic")


async def test_a_place_for_a_start_comes_back_when_the_request_leaves() -> None:
    starts, order = Starts(1), []

    async def call(name: str, answered: asyncio.Event) -> None:
        async with starts.place():
            order.append(name)
            await request_has_left()
            await answered.wait()

    first, second = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(call("first", first))
        group.create_task(call("second", second))
        while len(order) < 2:
            await request_has_left()
            await asyncio.to_thread(lambda: None)
        first.set()
        second.set()
    assert order == ["first", "second"]


async def test_a_place_for_a_start_comes_back_at_the_end_of_the_call_or_after_its_longest_time() -> None:
    starts = Starts(1)
    async with asyncio.timeout(0.2):
        for _ in range(3):
            async with starts.place():
                pass
    async with asyncio.timeout(1), starts.place(), starts.place():
        pass


LISTED = ModelFacts("openai", is_listed=True, takes_json_schema=True)


@pytest.mark.parametrize(
    ("model", "facts", "settings", "words"),
    [
        (MODEL, LISTED, {}, []),
        ("gpt-4o-mini", LISTED, {}, ["provider/model"]),
        ("nonsense/x", ModelFacts("nonsense", is_provider_known=False), {}, ["provider/model"]),
        ("openai/x", ModelFacts("openai"), {}, ["price list"]),
        ("openai/x", ModelFacts("openai", missing_keys=("OPENAI_API_KEY",)), {"api_base": "http://here"}, []),
        (
            MODEL,
            ModelFacts("openai", is_listed=True, missing_keys=("OPENAI_API_KEY",)),
            {},
            ["OPENAI_API_KEY"],
        ),
        (
            MODEL,
            ModelFacts("openai", is_listed=True, missing_keys=("OPENAI_API_KEY",)),
            {"OPENAI_API_KEY": "sk-here"},
            [],
        ),
        (
            MODEL,
            ModelFacts("openai", is_listed=True),
            {"structured_mode": "json_schema"},
            ["STRUCTURED_MODE"],
        ),
    ],
)
def test_the_check_names_what_is_wrong_with_a_model(
    model: str, facts: ModelFacts, settings: dict[str, object], words: list[str]
) -> None:
    problems = problems_of(model, facts, LLMSettings.model_validate(settings))
    assert len(problems) == len(words)
    assert all(word in problem for word, problem in zip(words, problems, strict=True))


@pytest.mark.parametrize(("fault", "said"), [("ok", None), ("401", "API key"), ("404", "HTTP 404")])
async def test_the_live_check_says_what_one_call_ends_in(
    fault: str, said: str | None, upstream: ProtocolServer, make_client: MakeClient
) -> None:
    client, settings = await make_client(), llm_settings(upstream.base_url)
    upstream.set_default(fault)
    asked = request()

    problem = await live_problem(client, settings, model=MODEL, ask=asked.messages, form=asked.response_model)

    assert problem is None if said is None else said in (problem or "")
    assert len(upstream.calls) == 1


async def test_the_facts_come_from_the_price_list(make_client: MakeClient) -> None:
    client = await make_client()
    assert (await client.facts(MODEL)).takes_json_schema
    assert not (await client.facts("openai/my-own")).is_listed
    assert not (await client.facts("nonsense/x")).is_provider_known


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_what_is_no_text_counts_as_one_part_and_not_by_its_bytes(kind: str) -> None:
    part = {"type": kind, kind: {"url": "data:image/png;base64," + "iVBORw0KGgo" * 20_000}}
    question = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}
    assert 1000 < tokens_of((question,)) < 5000
