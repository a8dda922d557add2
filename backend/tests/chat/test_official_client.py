"""The official client with nothing but an address and a header: our server on the stub, and over an upstream."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from app.config import Settings
from tests.conftest import make_settings
from tests.protocol_server.server import ProtocolServer
from tests.queries.upstream import CALLER, SECOND, served_over
from tests.server_process import query, wait_until

pytestmark = pytest.mark.slow
HERON: Any = [{"role": "user", "content": "Where does the heron sleep?"}]
FIRST = "gpt-4o-mini"
TOOL: Any = {"type": "function", "function": {"name": "file", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return make_settings(database_url, tmp_path, worker_enabled=True)


def client_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="any", default_headers=CALLER, max_retries=0)


@pytest.fixture
def on_stub(server_url: str) -> Iterator[openai.OpenAI]:
    with client_of(server_url) as client:
        yield client


@pytest.fixture
def client(upstream: ProtocolServer, database_url: str, tmp_path: Path) -> Iterator[openai.OpenAI]:
    with served_over(upstream, database_url, tmp_path) as url, client_of(url) as client:
        yield client


def text_of(chunks: Any) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def test_a_completion_of_the_stub(on_stub: openai.OpenAI, database_url: str) -> None:
    answer = on_stub.chat.completions.create(model="task:chat", messages=HERON)
    assert answer.model == "stub/stub" and "heron" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.total_tokens > 0
    assert query(database_url, "SELECT count(*) FROM queries") == [(0,)]
    settled = "SELECT lane, outcome FROM llm_attempts"
    wait_until(lambda: query(database_url, settled) == [("chat", "OK")], "the books settled")


def test_a_stream_of_the_stub(on_stub: openai.OpenAI) -> None:
    stream = on_stub.chat.completions.create(
        model="task:chat", messages=HERON, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "heron" in text_of(chunks) and {chunk.model for chunk in chunks} == {"stub/stub"}
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0 and chunks[-1].choices == []
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_the_models_are_tasks_and_what_is_set_up(on_stub: openai.OpenAI) -> None:
    names = [model.id for model in on_stub.models.list()]
    assert {"task:chat", "task:query", "stub/stub"} <= set(names)


@pytest.mark.parametrize("is_stream", [False, True])
def test_faults_are_the_client_s_own(on_stub: openai.OpenAI, is_stream: bool) -> None:  # noqa: FBT001
    def ask(**changes: Any) -> Any:
        return on_stub.chat.completions.create(**{"messages": HERON, "stream": is_stream, **changes})

    with pytest.raises(openai.NotFoundError) as unknown:
        ask(model="nobody/knows")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        ask(model="task:nothing")
    with pytest.raises(openai.UnprocessableEntityError) as wrong:
        ask(model="task:chat", temperature=9)
    assert (wrong.value.type, wrong.value.param) == ("invalid_request_error", "temperature")
    with pytest.raises(openai.UnprocessableEntityError):
        ask(model="task:chat", messages=[{"role": "user", "content": ""}])
    with pytest.raises(openai.UnprocessableEntityError) as unheard:
        ask(model="task:chat", extra_body={"warmth": 1})
    assert unheard.value.param == "warmth"
    with pytest.raises(openai.AuthenticationError):
        ask(model="task:chat", extra_headers={"X-Dev-User-Id": ""})


def test_a_completion_over_the_upstream(client: openai.OpenAI, upstream: ProtocolServer) -> None:
    answer = client.chat.completions.create(model="openai/gpt-4o-mini", messages=HERON, temperature=0.1, max_tokens=50)
    assert answer.model == "openai/gpt-4o-mini" and answer.choices[0].message.content
    [call] = upstream.calls
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (
        call.billed_input_tokens,
        call.billed_output_tokens,
    )


def test_a_bare_name_is_openai_s(client: openai.OpenAI) -> None:
    assert client.chat.completions.create(model="gpt-4o-mini", messages=HERON).choices[0].message.content


def test_the_model_in_the_answer_is_the_one_that_answered(client: openai.OpenAI, upstream: ProtocolServer) -> None:
    upstream.script("500", model=FIRST)
    upstream.script("500", model=FIRST)
    answer = client.chat.completions.create(
        model="openai/gpt-4o-mini", messages=HERON, extra_body={"fallback_models": [SECOND]}
    )
    assert answer.model == SECOND


def test_tools_are_passed_on_whole_and_in_pieces(client: openai.OpenAI) -> None:
    asked: Any = {
        "model": "task:chat",
        "messages": HERON,
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "file"}},
    }
    answer = client.chat.completions.create(**asked)
    calls = answer.choices[0].message.tool_calls
    assert calls and calls[0].function.name == "file"
    pieces = [
        piece
        for chunk in client.chat.completions.create(**asked, stream=True)
        for choice in chunk.choices
        for piece in choice.delta.tool_calls or ()
    ]
    assert "".join(piece.function.arguments or "" for piece in pieces) == calls[0].function.arguments


def test_a_response_format_is_passed_on(client: openai.OpenAI, upstream: ProtocolServer) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    client.chat.completions.create(model="task:chat", messages=HERON, response_format=form)
    assert upstream.calls[0].mode == "json_schema"


def test_a_restart_before_the_first_piece_is_not_seen(client: openai.OpenAI, upstream: ProtocolServer) -> None:
    upstream.script("stream_slow_first=5", model=FIRST)
    chunks = list(client.chat.completions.create(model="task:chat", messages=HERON, stream=True))
    assert text_of(chunks) and chunks[-1].model == SECOND


def test_a_restart_after_it_ends_the_stream_with_an_error(client: openai.OpenAI, upstream: ProtocolServer) -> None:
    upstream.script("stream_stall=2", model=FIRST)
    with pytest.raises(openai.APIError) as broken:
        list(client.chat.completions.create(model="task:chat", messages=HERON, stream=True))
    assert broken.value.type == "server_error"


def leave_whole(client: openai.OpenAI, upstream: ProtocolServer) -> None:
    upstream.script("latency=20")
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1).chat.completions.create(model="task:chat", messages=HERON)


def leave_stream(client: openai.OpenAI, upstream: ProtocolServer) -> None:
    upstream.script("stream_endless")
    with client.chat.completions.create(model="task:chat", messages=HERON, stream=True) as stream:
        next(iter(stream))


@pytest.mark.parametrize("leave", [leave_whole, leave_stream])
def test_a_client_that_leaves_cancels_the_call(
    client: openai.OpenAI, upstream: ProtocolServer, database_url: str, leave: Any
) -> None:
    leave(client, upstream)
    assert upstream.wait_idle(5.0) and upstream.calls[0].has_hung_up
    wait_until(lambda: query(database_url, "SELECT outcome FROM llm_attempts") == [("CANCELLED",)], "the books settled")
    assert query(database_url, "SELECT count(*) FROM queries") == [(0,)]


def test_a_limit_of_the_provider_is_429(client: openai.OpenAI, upstream: ProtocolServer) -> None:
    upstream.set_default("429_retry_after=60")
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model="openai/gpt-4o-mini", messages=HERON)
    assert limited.value.code == "rate_limit_exceeded"
    assert int(limited.value.response.headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("POST", "/v1/chat/completions", b"{", 422, "validation_error"),
        ("GET", "/v1/chat/completions", b"", 405, "method_not_allowed"),
        ("GET", "/v1/nothing", b"", 404, "not_found"),
        ("POST", "/v1/chat/completions", b'"' + b"x" * 1_100_000 + b'"', 413, "payload_too_large"),
    ],
)
def test_what_no_route_takes_is_told_in_openai_s_form(
    server_url: str, method: str, path: str, content: bytes, status: int, code: str
) -> None:
    headers = {**CALLER, "Content-Type": "application/json"}
    answer = httpx.request(method, server_url + path, content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(("fault", "calls"), [("400", 1), ("401", 1), ("500", 2), ("404", 1)])
def test_the_client_does_not_repeat_what_the_gateway_has_tried(
    upstream: ProtocolServer, database_url: str, tmp_path: Path, fault: str, calls: int
) -> None:
    upstream.set_default(fault)
    with served_over(upstream, database_url, tmp_path) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", default_headers=CALLER)  # it repeats twice
        with client, pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model="openai/gpt-4o-mini", messages=HERON)
    assert len(upstream.calls) == calls


def test_a_model_that_the_provider_does_not_have_is_named(client: openai.OpenAI, upstream: ProtocolServer) -> None:
    upstream.set_default("404")
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="openai/gpt-9", messages=HERON)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
