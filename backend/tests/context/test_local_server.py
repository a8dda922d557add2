"""What local servers tell of their models, over HTTP: windows, tokenizers, and what holds when they tell nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.context.local_server import LocalModels, Server
from app.context.tokens import ESTIMATOR
from app.context.windows import UNKNOWN_WINDOW, Window
from tests.context.scripts import PROSE, long_document


class Upstream:
    """A server that answers what it was told to, and notes what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[web.Request] = []
        self.silent = asyncio.Event()
        self.tokens_per_char = 0.5

    def paths(self) -> list[str]:
        return [request.path for request in self.asked]

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        answer = self.answers.get(request.path)
        if answer is None:
            return web.Response(status=404, text="<html>not here</html>")
        if answer == "silence":
            await self.silent.wait()
        if answer == "elsewhere":
            return web.Response(status=302, headers={"Location": "/props-of-another"})
        if request.path == "/tokenize" and answer == "count":
            body = await request.json()
            text = body.get("content") or body["prompt"]
            return web.json_response({"tokens": [1] * int(len(text) * self.tokens_per_char)})
        return web.Response(text=answer) if isinstance(answer, str) else web.json_response(answer)


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def server(upstream: Upstream) -> AsyncIterator[Server]:
    app = web.Application(client_max_size=10_000_000)
    app.router.add_route("*", "/{path:.*}", upstream.answer)
    async with TestServer(app) as running:
        yield Server(f"http://{running.host}:{running.port}/v1", "a-key")
        upstream.silent.set()


@pytest.fixture
async def hands() -> list[float]:
    """The clock's time: its one element is turned by the test."""
    return [0.0]


@pytest.fixture
async def models(hands: list[float]) -> AsyncIterator[LocalModels]:
    models = LocalModels(aiohttp.ClientSession, lambda: hands[0], timeout_seconds=1.0)
    yield models
    await models.close()


LLAMA_CPP = {"default_generation_settings": {"n_ctx": 8192}, "total_slots": 4}
OLLAMA = {"model_info": {"general.parameter_count": 3, "llama.context_length": 131_072}, "parameters": "stop  x"}
VLLM = {"object": "list", "data": [{"id": "other", "max_model_len": 1}, {"id": "tiny", "max_model_len": 32_768}]}


def loaded(name: str) -> dict[str, Any]:
    return {"models": [{"name": "other:latest", "context_length": 1}, {"name": name, "context_length": 16_384}]}


@pytest.mark.parametrize(
    ("answers", "tokens"),
    [
        ({"/props": LLAMA_CPP}, 8_192),
        ({"/api/show": OLLAMA}, 4_096),
        ({"/api/show": OLLAMA | {"parameters": "temperature  0\nnum_ctx      12000"}}, 12_000),
        ({"/api/show": OLLAMA, "/api/ps": loaded("tiny")}, 16_384),
        ({"/api/show": OLLAMA, "/api/ps": loaded("tiny:latest")}, 16_384),
        ({"/api/show": OLLAMA, "/api/ps": loaded("another")}, 4_096),
        ({"/api/show": {"model_info": {"bert.context_length": 512}}}, 512),
        ({"/v1/models": VLLM}, 32_768),
    ],
    ids=["llama.cpp", "ollama", "num_ctx", "loaded", "latest", "another is loaded", "small model", "vllm"],
)
async def test_the_window_is_the_one_that_is_served(
    upstream: Upstream, server: Server, models: LocalModels, answers: dict[str, Any], tokens: int
) -> None:
    upstream.answers = answers
    assert await models.window_of(server, "tiny") == Window(tokens)


@pytest.mark.parametrize(
    "answer",
    [
        "<html>hello</html>",
        [1, 2],
        {"default_generation_settings": None},
        {"default_generation_settings": {"n_ctx": -1}},
        {"default_generation_settings": {"n_ctx": True}},
        "elsewhere",
        "silence",
    ],
    ids=["HTML", "a list", "nothing", "negative", "no number", "a redirect", "silence"],
)
async def test_a_server_that_says_nothing_useful_gets_the_window_that_is_safe_everywhere(
    upstream: Upstream, server: Server, models: LocalModels, answer: object
) -> None:
    upstream.answers = {"/props": answer, "/props-of-another": LLAMA_CPP}
    assert await models.window_of(server, "tiny") == UNKNOWN_WINDOW


async def test_a_server_that_is_not_there_gets_the_window_that_is_safe_everywhere(models: LocalModels) -> None:
    assert await models.window_of(Server("http://127.0.0.1:9"), "tiny") == UNKNOWN_WINDOW


async def test_an_address_that_the_guard_refuses_gets_the_window_that_is_safe_everywhere(server: Server) -> None:
    def refuse(_: object) -> socket.socket:
        raise OSError("not allowed")

    models = LocalModels(lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=refuse)))
    assert await models.window_of(server, "tiny") == UNKNOWN_WINDOW
    await models.close()


async def test_callers_at_once_and_soon_after_ask_once(
    upstream: Upstream, server: Server, models: LocalModels, hands: list[float]
) -> None:
    upstream.answers = {"/props": LLAMA_CPP}
    await asyncio.gather(*(models.window_of(server, "tiny") for _ in range(10)))
    hands[0] = 299
    await models.window_of(server, "tiny")
    assert upstream.paths() == ["/props"]


async def test_an_answer_is_asked_for_again_after_five_minutes(
    upstream: Upstream, server: Server, models: LocalModels, hands: list[float]
) -> None:
    upstream.answers = {"/props": LLAMA_CPP}
    await models.window_of(server, "tiny")
    hands[0] = 301
    upstream.answers = {"/props": {"default_generation_settings": {"n_ctx": 2_048}}}
    assert await models.window_of(server, "tiny") == Window(2_048)


async def test_a_silent_server_is_left_alone_for_half_a_minute(
    upstream: Upstream, server: Server, models: LocalModels, hands: list[float]
) -> None:
    await models.window_of(server, "tiny")
    upstream.answers = {"/props": LLAMA_CPP}
    hands[0] = 29
    assert await models.window_of(server, "tiny") == UNKNOWN_WINDOW
    hands[0] = 31
    assert await models.window_of(server, "tiny") == Window(8_192)


async def test_the_key_is_sent_and_not_shown(upstream: Upstream, server: Server, models: LocalModels) -> None:
    await models.window_of(server, "tiny")
    assert {request.headers["Authorization"] for request in upstream.asked} == {"Bearer a-key"}
    assert "a-key" not in repr(server)


async def test_being_asked_makes_no_server_load_a_model(
    upstream: Upstream, server: Server, models: LocalModels
) -> None:
    await models.window_of(server, "org/tiny model")
    assert dict(upstream.asked[0].query) == {"model": "org/tiny model", "autoload": "false"}


@pytest.mark.parametrize("answers", [{"/props": LLAMA_CPP}, {"/v1/models": VLLM}], ids=["llama.cpp", "vllm"])
@pytest.mark.parametrize("document", [PROSE["English"], PROSE["Chinese"], long_document(chars=200_000)])
async def test_the_server_s_own_tokenizer_sets_the_estimator_right(
    upstream: Upstream, server: Server, models: LocalModels, answers: dict[str, Any], document: str
) -> None:
    upstream.answers = answers | {"/tokenize": "count"}
    tokenizer = await models.tokenizer_for(server, "tiny", document)
    assert tokenizer.count(document) == pytest.approx(len(document) * 0.5, rel=0.05)
    assert 0 < tokenizer.margin <= 0.1


@pytest.mark.parametrize(
    "answers",
    [
        {"/api/show": OLLAMA},
        {"/props": LLAMA_CPP},
        {"/props": LLAMA_CPP, "/tokenize": {"tokens": "many"}},
        {"/props": LLAMA_CPP, "/tokenize": "silence"},
    ],
    ids=["cannot count", "is not there", "nonsense", "silence"],
)
async def test_without_a_tokenizer_there_is_the_estimator(
    upstream: Upstream, server: Server, models: LocalModels, answers: dict[str, Any]
) -> None:
    upstream.answers = answers
    assert await models.tokenizer_for(server, "tiny", "A text.") is ESTIMATOR


async def test_nothing_is_asked_for_an_empty_text(upstream: Upstream, server: Server, models: LocalModels) -> None:
    upstream.answers = {"/props": LLAMA_CPP, "/tokenize": "count"}
    assert await models.tokenizer_for(server, "tiny", "\n") is ESTIMATOR
    assert upstream.paths() == ["/props"]
