"""What local servers tell of their models, over HTTP: windows, tokenizers, and what holds when they tell nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app import clock
from app.config import LLMSettings
from app.context.local_server import LocalServers, Server
from app.context.windows import Window
from app.providers.outbound import ConnectionGuard, GuardedSession
from tests.context.scripts import PROSE, long_document


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await clock.sleep(0.005)


class Upstream:
    """A server that answers what it was told to, and notes what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[web.Request] = []
        self.silent = asyncio.Event()
        self.tokens_per_char = 0.5

    async def until_answered(self, requests: int) -> None:
        await until(lambda: len(self.asked) >= requests)

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


def session_for(*hosts: str) -> GuardedSession:
    return GuardedSession(ConnectionGuard.of(LLMSettings(_env_file=None, allowed_hosts=list(hosts))))


async def told(models: LocalServers, server: Server, model: str = "tiny") -> Window | None:
    await models.learn(server, model)
    return models.window_of(server, model)


@pytest.fixture
async def hands() -> list[float]:
    """The clock's time: its one element is turned by the test."""
    return [0.0]


@pytest.fixture
async def models(hands: list[float]) -> AsyncIterator[LocalServers]:
    models = LocalServers(session_for("127.0.0.1"), lambda: hands[0], timeout_seconds=1.0)
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
    upstream: Upstream, server: Server, models: LocalServers, answers: dict[str, Any], tokens: int
) -> None:
    upstream.answers = answers
    assert await told(models, server) == Window(tokens)


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
async def test_a_server_that_says_nothing_useful_tells_no_window(
    upstream: Upstream, server: Server, models: LocalServers, answer: object
) -> None:
    upstream.answers = {"/props": answer, "/props-of-another": LLAMA_CPP}
    assert await told(models, server) is None


async def test_a_server_that_is_not_there_tells_no_window(models: LocalServers) -> None:
    assert await told(models, Server("http://127.0.0.1:9")) is None


async def test_an_address_that_the_guard_refuses_is_not_asked(upstream: Upstream, server: Server) -> None:
    upstream.answers = {"/props": LLAMA_CPP}
    models = LocalServers(session_for())
    assert await told(models, server) is None and upstream.asked == []
    await models.close()


async def test_callers_at_once_and_soon_after_ask_once(
    upstream: Upstream, server: Server, models: LocalServers, hands: list[float]
) -> None:
    upstream.answers = {"/props": LLAMA_CPP}
    await asyncio.gather(*(models.learn(server, "tiny") for _ in range(10)))
    hands[0] = 299
    await models.learn(server, "tiny")
    assert upstream.paths() == ["/props"]


async def test_an_old_answer_stands_while_the_server_is_asked_anew(
    upstream: Upstream, server: Server, models: LocalServers, hands: list[float]
) -> None:
    upstream.answers = {"/props": LLAMA_CPP}
    await models.learn(server, "tiny")
    hands[0] = 301
    upstream.answers = {"/props": {"default_generation_settings": {"n_ctx": 2_048}}}
    assert await told(models, server) == Window(8_192)
    await upstream.until_answered(2)
    await until(lambda: models.window_of(server, "tiny") == Window(2_048))


async def test_a_look_brings_what_has_changed(upstream: Upstream, server: Server, models: LocalServers) -> None:
    upstream.answers = {"/props": LLAMA_CPP}
    await models.learn(server, "tiny")
    upstream.answers = {"/props": {"default_generation_settings": {"n_ctx": 2_048}}}
    models.look_again(server, "tiny")
    await until(lambda: models.window_of(server, "tiny") == Window(2_048))


async def test_what_was_told_stays_when_the_server_falls_silent(
    upstream: Upstream, server: Server, models: LocalServers
) -> None:
    upstream.answers = {"/props": LLAMA_CPP}
    await models.learn(server, "tiny")
    upstream.answers = {}
    models.look_again(server, "tiny")
    await upstream.until_answered(4)
    assert await told(models, server) == Window(8_192)


async def test_a_silent_server_is_left_alone_for_half_a_minute(
    upstream: Upstream, server: Server, models: LocalServers, hands: list[float]
) -> None:
    await models.learn(server, "tiny")
    upstream.answers = {"/props": LLAMA_CPP}
    hands[0] = 29
    assert await told(models, server) is None
    hands[0] = 31
    assert await told(models, server) == Window(8_192)


async def test_a_caller_that_leaves_ends_no_other_s_question(
    upstream: Upstream, server: Server, models: LocalServers
) -> None:
    upstream.answers = {"/props": LLAMA_CPP}
    leaving, staying = (asyncio.create_task(models.learn(server, "tiny")) for _ in range(2))
    await asyncio.wait({leaving}, timeout=0)
    leaving.cancel()
    await staying
    assert models.window_of(server, "tiny") == Window(8_192)


async def test_a_question_under_way_ends_with_the_servers(upstream: Upstream, server: Server) -> None:
    upstream.answers = {"/props": "silence"}
    models = LocalServers(session_for("127.0.0.1"))
    models.look_again(server, "tiny")
    await upstream.until_answered(1)
    await models.close()
    models.look_again(server, "tiny")
    await models.close()
    assert len(upstream.asked) == 1


async def test_the_key_is_sent_and_not_shown(upstream: Upstream, server: Server, models: LocalServers) -> None:
    await models.learn(server, "tiny")
    assert {request.headers["Authorization"] for request in upstream.asked} == {"Bearer a-key"}
    assert "a-key" not in repr(server)


async def test_being_asked_makes_no_server_load_a_model(
    upstream: Upstream, server: Server, models: LocalServers
) -> None:
    await models.learn(server, "org/tiny model")
    assert dict(upstream.asked[0].query) == {"model": "org/tiny model", "autoload": "false"}


@pytest.mark.parametrize("answers", [{"/props": LLAMA_CPP}, {"/v1/models": VLLM}], ids=["llama.cpp", "vllm"])
@pytest.mark.parametrize("document", [PROSE["English"], PROSE["Chinese"], long_document(chars=200_000)])
async def test_the_server_s_own_tokenizer_sets_the_estimator_right(
    upstream: Upstream, server: Server, models: LocalServers, answers: dict[str, Any], document: str
) -> None:
    upstream.answers = answers | {"/tokenize": "count"}
    await models.learn(server, "tiny")
    tokenizer = await models.tokenizer_for(server, "tiny", document)
    assert tokenizer is not None
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
async def test_a_server_that_does_not_count_gives_no_tokenizer(
    upstream: Upstream, server: Server, models: LocalServers, answers: dict[str, Any]
) -> None:
    upstream.answers = answers
    await models.learn(server, "tiny")
    assert await models.tokenizer_for(server, "tiny", "A text.") is None


async def test_nothing_is_asked_for_an_empty_text(upstream: Upstream, server: Server, models: LocalServers) -> None:
    upstream.answers = {"/props": LLAMA_CPP, "/tokenize": "count"}
    await models.learn(server, "tiny")
    assert await models.tokenizer_for(server, "tiny", "\n") is None
    assert upstream.paths() == ["/props"]
