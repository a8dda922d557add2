"""Anthropic's wire: messages, tools, streams, errors and usage, raw and through litellm with instructor."""

import asyncio
import json
from typing import Any, Literal

import httpx
import pytest
from pydantic import BaseModel

from tests.protocol_server.answers import enrichment_for, words_for
from tests.protocol_server.conftest import KEY, Asker
from tests.protocol_server.faults.content import REFUSAL
from tests.protocol_server.server import ProtocolServer

NOTE = "Remember the milk, and the bread from the corner"
TOOL = {"name": "Enrichment", "input_schema": {"type": "object"}}
FORCED: dict[str, Any] = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "Enrichment"}}
ERRORS = [
    ("400", 400, "invalid_request_error"),
    ("400_context", 400, "invalid_request_error"),
    ("401", 401, "authentication_error"),
    ("403", 403, "permission_error"),
    ("404", 404, "not_found_error"),
    ("408", 504, "timeout_error"),
    ("429_retry_after=2", 429, "rate_limit_error"),
    ("429_quota", 402, "billing_error"),
    ("500", 500, "api_error"),
    ("503", 503, "api_error"),
    ("529", 529, "overloaded_error"),
]


class Enrichment(BaseModel):
    title: str
    summary: str
    tags: list[str]
    source_type: Literal["NOTE", "ARTICLE"]


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The data of each event; its name and its type must agree."""
    events = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert events[-1]["type"] == name.removeprefix("event: ")
    return events


def test_a_message_says_the_words_and_its_usage_is_the_bill(asker: Asker) -> None:
    message, call = asker.message(NOTE).json(), asker.server.calls[0]
    assert message["content"] == [{"type": "text", "text": words_for(NOTE)}]
    assert (message["stop_reason"], message["id"]) == ("end_turn", call.answer_id)
    assert message["usage"]["input_tokens"] == call.billed_input_tokens > 0
    assert message["usage"]["output_tokens"] == call.billed_output_tokens > 0
    assert call.wire == "anthropic"


def test_a_tool_is_called_with_its_input(asker: Asker) -> None:
    message = asker.message(NOTE, **FORCED).json()
    block = message["content"][0]
    assert (block["type"], block["name"], block["input"]) == ("tool_use", "Enrichment", enrichment_for(NOTE))
    assert message["stop_reason"] == "tool_use"


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "auto"}])
def test_who_may_choose_a_tool_gets_the_first(asker: Asker, choice: dict[str, str]) -> None:
    message = asker.message(NOTE, tools=[TOOL], tool_choice=choice).json()
    assert message["content"][0]["type"] == "tool_use"


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [TOOL], "tool_choice": {"type": "none"}},
        {
            "tools": [TOOL],
            "messages": [
                {"role": "user", "content": NOTE},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "{}"}]},
            ],
        },
    ],
    ids=["none", "result"],
)
def test_no_tool_is_called_where_none_may_be_or_its_result_is_there(asker: Asker, more: dict[str, Any]) -> None:
    assert asker.message(NOTE, **more).json()["content"] == [{"type": "text", "text": words_for(NOTE)}]


@pytest.mark.parametrize("name", ["output_format", "output_config"])
def test_a_format_asks_for_json_in_the_text(asker: Asker, name: str) -> None:
    form: dict[str, Any] = {"type": "json_schema", "schema": {"properties": {"city": {"type": "string"}}}}
    message = asker.message("Where?", **{name: form if name == "output_format" else {"format": form}}).json()
    assert json.loads(message["content"][0]["text"]) == {"city": "some words"}


def test_the_input_of_a_tool_that_was_cut_is_empty(asker: Asker) -> None:
    asker.server.script("cut")
    message = asker.message(NOTE, **FORCED).json()
    assert (message["content"][0]["input"], message["stop_reason"]) == ({}, "max_tokens")


def test_a_missing_version_is_said(asker: Asker) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "a"}]}
    assert "anthropic-version" in asker.http.post("/v1/messages", json=body).json()["error"]["message"]


def test_the_system_text_is_counted_in_parts_as_in_one(asker: Asker) -> None:
    asker.message(NOTE, system="Be brief.")
    asker.message(NOTE, system=[{"type": "text", "text": "Be brief."}])
    asker.message(NOTE)
    first, second, bare = (call.billed_input_tokens for call in asker.server.calls)
    assert first == second > bare


def test_cached_tokens_are_part_of_the_bill_and_not_of_the_input(asker: Asker) -> None:
    asker.server.script("cached=5+cache_write=3")
    usage, call = asker.message(NOTE).json()["usage"], asker.server.calls[0]
    assert (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]) == (5, 3)
    assert usage["input_tokens"] == call.billed_input_tokens - 8


def test_a_stream_joins_to_the_message(asker: Asker) -> None:
    events = events_of(asker.message(NOTE, stream=True))
    names = [event["type"] for event in events]
    text = "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
    assert text == words_for(NOTE)
    assert names[:3] == ["message_start", "ping", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_stream_tells_its_usage_at_both_ends(asker: Asker) -> None:
    start, *_, delta, _stop = events_of(asker.message(NOTE, stream=True))
    call = asker.server.calls[0]
    assert start["message"]["usage"]["input_tokens"] == call.billed_input_tokens
    assert delta["usage"]["output_tokens"] == call.billed_output_tokens
    assert call.is_complete


def test_a_tools_input_comes_in_pieces_of_json(asker: Asker) -> None:
    events = events_of(asker.message(NOTE, stream=True, **FORCED))
    pieces = [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"]
    assert len(pieces) > 3
    assert json.loads("".join(pieces)) == enrichment_for(NOTE)


@pytest.mark.parametrize(("fault", "status", "kind"), ERRORS)
def test_an_error_has_the_vendors_status_and_type(asker: Asker, fault: str, status: int, kind: str) -> None:
    asker.server.script(fault)
    response = asker.message(NOTE, stream=True)
    assert (response.status_code, response.json()["type"], response.json()["error"]["type"]) == (status, "error", kind)


def test_an_error_in_mid_stream_is_an_event(asker: Asker) -> None:
    asker.server.script("stream_error=2")
    *_, last = events_of(asker.message(NOTE, stream=True))
    assert (last["type"], last["error"]["type"]) == ("error", "overloaded_error")


def test_a_stream_can_lack_its_last_event_or_its_usage(asker: Asker) -> None:
    asker.server.script("stream_no_done", "no_usage")
    endless, free = (events_of(asker.message(NOTE, stream=True)) for _ in range(2))
    assert endless[-1]["type"] == "message_delta"
    assert all("usage" not in event and "usage" not in event.get("message", {}) for event in free)


@pytest.mark.parametrize(
    ("fault", "reason", "text"),
    [("refusal", "refusal", REFUSAL), ("content_filter", "refusal", ""), ("cut", "max_tokens", None)],
)
def test_a_message_says_why_it_stopped(asker: Asker, fault: str, reason: str, text: str | None) -> None:
    asker.server.script(fault)
    message = asker.message(NOTE).json()
    assert message["stop_reason"] == reason
    if text is not None:
        assert "".join(block["text"] for block in message["content"]) == text


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": [{"role": "user"}], "max_tokens": "many"}])
def test_a_body_that_asks_for_no_message_is_refused(asker: Asker, body: dict[str, Any]) -> None:
    response = asker.http.post("/v1/messages", json=body, headers={"anthropic-version": "2023-06-01"})
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


def test_no_key_is_an_authentication_error_and_no_call(server: ProtocolServer) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "a"}]}
    response = httpx.post(f"{server.url}/v1/messages", json=body, headers={"anthropic-version": "2023-06-01"})
    assert (response.status_code, response.json()["error"]["type"]) == (401, "authentication_error")
    assert server.calls == []


async def _ask_litellm(server: ProtocolServer, **more: Any) -> Any:
    import litellm  # noqa: PLC0415 - slow

    try:
        message = {"role": "user", "content": NOTE}
        answer = await litellm.acompletion(
            model="anthropic/claude-haiku-4-5",
            messages=[message],
            api_base=server.url,
            api_key=KEY,
            num_retries=0,
            max_retries=0,
            timeout=5,
            **more,
        )
        return [chunk async for chunk in answer] if more.get("stream") else answer
    finally:
        await litellm.close_litellm_async_clients()
        litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.mark.vendor_clients
@pytest.mark.filterwarnings("ignore")
class TestLitellm:
    def test_it_reads_words_and_usage(self, server: ProtocolServer) -> None:
        server.script("cached=5")
        answer, call = asyncio.run(_ask_litellm(server)), server.calls[0]
        assert answer.choices[0].message.content == words_for(NOTE)
        assert answer.usage.prompt_tokens == call.billed_input_tokens
        assert answer.usage.prompt_tokens_details.cached_tokens == 5
        assert answer.usage.completion_tokens == call.billed_output_tokens

    def test_it_reads_a_stream_and_its_usage(self, server: ProtocolServer) -> None:
        chunks = asyncio.run(_ask_litellm(server, stream=True, stream_options={"include_usage": True}))
        call = server.calls[0]
        texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        usages = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
        assert "".join(texts) == words_for(NOTE)
        assert usages[-1].completion_tokens == call.billed_output_tokens
        assert call.is_complete

    @pytest.mark.parametrize(
        ("fault", "status"), [("529", 500), ("401", 401), ("429_retry_after=2", 429), ("500", 500)]
    )
    def test_it_reads_errors(self, server: ProtocolServer, fault: str, status: int) -> None:
        # 529 is not in litellm's list: it keeps the vendor's words, but says 500.
        server.script(fault)
        with pytest.raises(Exception, match=r"(?i)anthropic") as caught:
            asyncio.run(_ask_litellm(server))
        assert getattr(caught.value, "status_code", None) == status
        assert len(server.calls) == 1

    def test_instructor_gets_an_enrichment_through_a_tool(self, server: ProtocolServer) -> None:
        import instructor  # noqa: PLC0415 - slow
        import litellm  # noqa: PLC0415

        client: Any = instructor.from_litellm(litellm.acompletion, mode=instructor.Mode.TOOLS)

        async def ask() -> Any:
            try:
                return await client.create(
                    response_model=Enrichment,
                    model="anthropic/claude-haiku-4-5",
                    messages=[{"role": "user", "content": f"{NOTE} [[fault:prose,ok]]"}],
                    api_base=server.url,
                    api_key=KEY,
                    max_retries=1,
                    num_retries=0,
                )
            finally:
                await litellm.close_litellm_async_clients()
                litellm.in_memory_llm_clients_cache.flush_cache()

        assert asyncio.run(ask()).source_type == "NOTE"
        assert [(call.mode, call.fault) for call in server.calls] == [("tools", "prose"), ("tools", "ok")]
