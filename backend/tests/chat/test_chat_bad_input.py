"""What cannot be asked over OpenAI's wire: refused by field before a model is asked, whatever its form."""

from typing import Any

import pytest
from httpx import AsyncClient

from app.accounts.privacy import Privacy
from app.chat.schemas import ChatRequest
from app.chat.wire import call_of
from app.llm.call import Spender
from app.llm.requests import options_of
from tests.conftest import Json, code_of

CHAT = "http://litevault.test/v1/chat/completions"
HERON: Json = {"role": "user", "content": "Where does the heron sleep?"}
PICTURE = "data:image/png;base64," + "iVBORw0KGgo" * 20_000
TOOL: Json = {"type": "function", "function": {"name": "file", "parameters": {"type": "object"}}}


async def post(client: AsyncClient, **changes: Any) -> Any:
    return await client.post(CHAT, json={"model": "task:chat", "messages": [HERON], **changes})


def content(*parts: object) -> Json:
    return {"messages": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"messages": [{"role": "user", "content": " \n"}]}, "messages"),
        (content({"type": "text", "text": " "}), "messages"),
        (content({"type": "text"}), "messages.0.content.0.text"),
        (content({"type": "text", "text": 5}), "messages.0.content.0.text"),
        (content({"type": "text", "text": "a\x00b"}), "messages.0.content.0.text"),
        (content({"type": "poem", "poem": "x"}), "messages.0.content.0"),
        (content({"type": "image_url", "image_url": "https://a.test/b.png"}), "messages.0.content.0.image_url"),
        (content({"type": "image_url", "image_url": {}}), "messages.0.content.0.image_url.url"),
        (content({"type": "image_url", "image_url": {"url": "http://a.test/b"}}), "messages.0.content.0.image_url.url"),
        (content({"type": "file", "file": {"file_data": "https://a.test/b"}}), "messages.0.content.0.file.file_data"),
        (content({"type": "file", "file": {}}), "messages.0.content.0.file"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "messages.0.content"),
        ({"model": ""}, "model"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"stop": [""]}, "stop.0"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -2.1}, "frequency_penalty"),
        ({"reasoning_effort": "boundless"}, "reasoning_effort"),
        ({"parallel_tool_calls": True}, "body"),
        ({"logprobs": True}, "logprobs"),
        ({"fallback_models": ["a/b", ""]}, "fallback_models.1"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_its_field(client: AsyncClient, changes: Json, field: str) -> None:
    answer = await post(client, **changes)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, field), answer.text
    assert " at 0x" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "task:chat", "messages": [{"role": "user", "content": [{"type": "text", "text": "\\ud800"}]}]}',
        b'{"model": "\\ud800/x", "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "task:chat", "messages": [{"role": "user", "content": "x"}], "\\ud800": 1}',
        b'{"model": "task:chat", "messages": [{"role": "user", "content": "x"}], "tools": [TOOL]}'.replace(
            b"TOOL", b'{"type": "function", "function": {"name": "f", "parameters": {"a": {"\\ud800": "b"}}}}'
        ),
    ],
)
async def test_half_a_character_is_refused_wherever_it_stands(client: AsyncClient, body: bytes) -> None:
    answer = await client.post(CHAT, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, code_of(answer)) == (422, "validation_error")


async def test_a_text_over_every_window_names_the_messages(client: AsyncClient) -> None:
    models = [{"name": "m", "contextWindow": 100}]
    made = {"name": "small", "kind": "openai", "baseUrl": "https://1.1.1.1/v1", "models": models}
    assert (await client.post("/llm/providers", json=made)).status_code == 201
    answer = await post(client, model="small/m", messages=[{"role": "user", "content": "word " * 200}])
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (422, "context_length_exceeded", "messages")


async def test_of_a_question_in_parts_the_stub_repeats_the_text(client: AsyncClient) -> None:
    parts = ({"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PICTURE}})
    answer = await post(client, **content(*parts))
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "The stub was asked: What is it?"


def test_what_shapes_an_answer_goes_to_the_model() -> None:
    wished: Json = {
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "reasoning_effort": "low",
        "tools": [TOOL],
        "parallel_tool_calls": False,
    }
    body = ChatRequest.model_validate({"model": "task:chat", "messages": [HERON], **wished})
    call = call_of(body, Spender(user_id="ann", lane="chat"), Privacy.ANY, 10)
    assert options_of(call.parameters) == wished
