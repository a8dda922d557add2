"""The good answer: in every mode, deterministic, and never an echo."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.protocol_server.answers import digest_of, enrichment_for, words_for
from tests.protocol_server.conftest import TOOL, Asker

NOTE = "Remember to water the tall plants behind the kitchen window before Friday"


@given(st.text(max_size=400))
@example("a memo, a note")
def test_a_good_answer_keeps_the_rules_of_an_enrichment(text: str) -> None:
    answer = enrichment_for(text)
    tags = answer["tags"]
    assert isinstance(tags, list)
    assert 3 <= len(set(tags)) == len(tags) <= 5
    assert 0 < len(str(answer["title"])) <= 60
    assert answer["source_type"] in {"NOTE", "ARTICLE"}


@given(st.text(min_size=30, max_size=400))
@example("Donaudampfschifffahrtsgesellschaftskapitaen")
def test_no_thirty_characters_of_the_text_come_back(text: str) -> None:
    answer = json.dumps(enrichment_for(text), ensure_ascii=False) + words_for(text)
    assert not any(text[start : start + 30] in answer for start in range(len(text) - 29))


def test_two_texts_have_two_summaries() -> None:
    assert enrichment_for(NOTE)["summary"] != enrichment_for(NOTE + ".")["summary"]


def test_an_address_in_the_text_makes_it_an_article() -> None:
    assert enrichment_for("see https://example.org/")["source_type"] == "ARTICLE"


def test_tools_are_answered_with_a_call_of_the_chosen_function(asker: Asker) -> None:
    choice = asker.post(NOTE, mode="tools").json()["choices"][0]
    function = choice["message"]["tool_calls"][0]["function"]
    assert (function["name"], choice["finish_reason"]) == ("Enrichment", "tool_calls")
    assert json.loads(function["arguments"]) == enrichment_for(NOTE)


@pytest.mark.parametrize("mode", ["json_schema", "json_object"])
def test_json_stands_in_the_content(asker: Asker, mode: str) -> None:
    assert json.loads(asker.content(NOTE, mode=mode)) == enrichment_for(NOTE)
    assert asker.server.calls[0].mode == mode


def test_who_asks_for_no_form_is_answered_in_words(asker: Asker) -> None:
    assert asker.content(NOTE, mode="plain") == words_for(NOTE)


def test_who_brings_the_result_of_a_tool_is_answered_in_words(asker: Asker) -> None:
    messages = [{"role": "user", "content": NOTE}, {"role": "tool", "tool_call_id": "1", "content": "{}"}]
    answer = asker.http.post("/v1/chat/completions", json={"model": "m", "messages": messages, "tools": [TOOL]})
    assert answer.json()["choices"][0]["message"]["content"] == words_for(NOTE)


def test_the_prompt_mode_is_answered_in_a_fence(asker: Asker) -> None:
    content = asker.content(NOTE, mode="md_json")
    assert content.startswith("```json\n")
    assert content.endswith("\n```")


def test_the_usage_in_the_answer_is_the_bill_in_the_book(asker: Asker) -> None:
    first, second = asker.post(NOTE).json(), asker.post(NOTE).json()
    call = asker.server.calls[0]
    assert first["usage"] == second["usage"]
    assert first["usage"]["prompt_tokens"] == call.billed_input_tokens > 0
    assert first["usage"]["completion_tokens"] == call.billed_output_tokens > 0


def test_every_answer_has_an_id_of_its_own_and_the_model_as_asked(asker: Asker) -> None:
    answers = [asker.post(NOTE, model="any/model").json() for _ in range(3)]
    assert len({answer["id"] for answer in answers}) == 3
    assert {answer["model"] for answer in answers} == {"any/model"}
    assert [call.answer_id for call in asker.server.calls] == [answer["id"] for answer in answers]


def test_a_text_in_parts_reads_like_one_string(asker: Asker) -> None:
    parts = [{"type": "text", "text": NOTE[:20]}, {"type": "text", "text": NOTE[20:]}]
    message = {"role": "user", "content": parts}
    asker.http.post("/v1/chat/completions", json={"model": "m", "messages": [message]})
    assert asker.server.calls[0].text_sha256 == digest_of(NOTE)
