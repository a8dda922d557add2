"""OpenAI's stream: joined it is the answer, its usage is the bill, and the real clients read it."""

import json
from typing import Any

import httpx
import pytest

from tests.protocol_server.answers import enrichment_for, words_for
from tests.protocol_server.conftest import KEY, Asker
from tests.protocol_server.server import ProtocolServer

NOTE = "Remember the milk, and the bread from the corner"


def chunks_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The JSON of each event; the end marker must be there."""
    *events, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def deltas_of(response: httpx.Response) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks_of(response) if chunk["choices"]]


def test_the_chunks_join_to_the_words_of_the_answer(asker: Asker) -> None:
    response = asker.stream(NOTE)
    deltas = deltas_of(response)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(delta.get("content") or "" for delta in deltas) == words_for(NOTE)
    assert len(deltas) > 12


def test_the_chunks_join_to_the_json_that_a_schema_asks_for(asker: Asker) -> None:
    deltas = deltas_of(asker.stream(NOTE, mode="json_schema"))
    assert json.loads("".join(delta.get("content") or "" for delta in deltas)) == enrichment_for(NOTE)


def test_a_tool_call_names_itself_once_then_its_arguments_join(asker: Asker) -> None:
    response = asker.stream(NOTE, mode="tools")
    calls = [delta["tool_calls"][0] for delta in deltas_of(response) if "tool_calls" in delta]
    assert [call["function"].get("name") for call in calls[:2]] == ["Enrichment", None]
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == enrichment_for(NOTE)
    assert chunks_of(response)[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_usage_comes_last_when_asked_for_and_is_the_bill(asker: Asker) -> None:
    *rest, last = chunks_of(asker.stream(NOTE))
    call = asker.server.calls[0]
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == call.billed_input_tokens > 0
    assert last["usage"]["completion_tokens"] == call.billed_output_tokens > 0
    assert {chunk["usage"] for chunk in rest} == {None}


def test_who_does_not_ask_for_usage_gets_none(asker: Asker) -> None:
    assert all("usage" not in chunk for chunk in chunks_of(asker.stream(NOTE, include_usage=False)))


def test_usage_that_was_asked_for_can_be_missing(asker: Asker) -> None:
    asker.server.script("no_usage")
    assert all("usage" not in chunk for chunk in chunks_of(asker.stream(NOTE)))


def test_a_stream_costs_what_the_whole_answer_costs(asker: Asker) -> None:
    asker.stream(NOTE)
    asker.post(NOTE, mode="plain")
    streamed, whole = asker.server.calls
    assert (streamed.is_stream, whole.is_stream) == (True, False)
    assert streamed.billed_output_tokens == whole.billed_output_tokens


def test_the_book_is_complete_when_the_client_has_its_end_marker(asker: Asker) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": NOTE}], "stream": True}
    for _ in range(50):
        with asker.http.stream("POST", "/v1/chat/completions", json=body) as response:
            # The SDKs read no further than this.
            assert "data: [DONE]" in response.iter_lines()
            call = asker.server.calls[-1]
            assert (call.ended_at is not None, call.is_complete, call.has_hung_up) == (True, True, False)


def test_one_connection_serves_streams_and_answers(asker: Asker) -> None:
    for _ in range(3):
        asker.stream(NOTE)
        asker.post(NOTE)
    assert asker.server.stats()["connections"] == 1


@pytest.mark.vendor_clients
@pytest.mark.filterwarnings("ignore")
def test_the_openai_sdk_reads_a_stream_with_its_usage(server: ProtocolServer) -> None:
    import openai  # noqa: PLC0415 - slow

    message: Any = {"role": "user", "content": NOTE}
    with openai.OpenAI(base_url=server.base_url, api_key=KEY, max_retries=0) as client:
        chunks = list(
            client.chat.completions.create(
                model="gpt-4o-mini", messages=[message], stream=True, stream_options={"include_usage": True}
            )
        )
    call = server.calls[0]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == words_for(NOTE)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == call.billed_output_tokens
    assert {chunk.id for chunk in chunks} == {call.answer_id}


@pytest.mark.vendor_clients
@pytest.mark.filterwarnings("ignore")
def test_the_openai_sdk_reads_an_error_in_mid_stream(server: ProtocolServer) -> None:
    import openai  # noqa: PLC0415 - slow

    server.script("stream_error=4")
    message: Any = {"role": "user", "content": NOTE}
    texts: list[str | None] = []
    with openai.OpenAI(base_url=server.base_url, api_key=KEY, max_retries=0) as client:
        stream = client.chat.completions.create(model="gpt-4o-mini", messages=[message], stream=True)
        with pytest.raises(openai.APIError, match="currently overloaded"):
            texts.extend(chunk.choices[0].delta.content for chunk in stream)
    assert len(texts) == server.calls[0].chunks_sent + 1 == 5
