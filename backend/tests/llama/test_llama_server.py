"""Our server over a real llama.cpp server: answers whole and streamed, structured ones, its window and its count."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from app.config import LLMSettings
from app.migrations import migrate
from tests.conftest import make_settings, served
from tests.engines import fresh_database
from tests.llama.llama_server import LlamaServer, find_program, running_llama
from tests.llama.tiny_model import write_tiny_model
from tests.queries.upstream import CALLER

PROGRAM = find_program()
pytestmark = [
    pytest.mark.llama,
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no llama-server on the PATH; `make llama-server` builds one"),
]
WINDOW, OUTPUT = 6_144, 256
HERON: Any = [{"role": "user", "content": "Where does the heron sleep?"}]
LONG = " ".join(f"Sentence number {number} of a long note." for number in range(1000))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    model = write_tiny_model(tmp_path_factory.mktemp("llama") / "tiny.gguf")
    with running_llama(str(PROGRAM), model, context_tokens=WINDOW) as server:
        yield server


@pytest.fixture(scope="module")
def our_url(llama: LlamaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Set up as the guide says."""
    llm = LLMSettings(
        _env_file=None,
        provider="litellm",
        model="openai/tiny",
        api_base=llama.base_url,
        structured_mode="json_schema",
        timeout_seconds=60,
    )
    for database_url in fresh_database(migrate):
        folder = tmp_path_factory.mktemp("ours")
        with served(make_settings(database_url, folder, llm=llm, worker_enabled=True)) as url:
            yield url


@pytest.fixture
def http(our_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{our_url}/api/v1", headers=CALLER, timeout=90) as client:
        yield client


@pytest.fixture
def client(our_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{our_url}/v1", api_key="any", default_headers=CALLER, max_retries=0) as client:
        yield client


def ask(http: httpx.Client, document: str) -> Any:
    body = {"promptId": "query", "variables": {"question": "What is it about?"}, "document": document}
    answer = http.post("/llm/query", json={**body, "waitSeconds": 30, "parameters": {"maxTokens": OUTPUT}})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_whole_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="task:chat", messages=HERON, max_tokens=32)
    assert answer.model == "openai/tiny" and answer.choices[0].message.content
    assert answer.usage is not None and answer.usage.completion_tokens == 32
    assert answer.usage.prompt_tokens > len("Where does the heron sleep?")


def test_a_stream_comes_in_pieces_and_whole(client: openai.OpenAI) -> None:
    options: Any = {"stream_options": {"include_usage": True}, "max_tokens": 32}
    chunks = list(client.chat.completions.create(model="task:chat", messages=HERON, stream=True, **options))
    pieces = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert len(pieces) > 10
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 32
    assert chunks[-2].choices[0].finish_reason == "length"


def test_the_window_is_the_one_that_it_was_started_with(llama: LlamaServer) -> None:
    props = httpx.get(f"{llama.url}/props").json()
    assert props["default_generation_settings"]["n_ctx"] == WINDOW


def test_a_long_text_fills_the_window_and_no_more(http: httpx.Client) -> None:
    """A token is a character here, four times what the estimator thinks: only the server's own count makes it fit."""
    answer = ask(http, LONG)
    assert 0 < answer["coverage"] < 1
    assert 0.8 * (WINDOW - OUTPUT) < answer["usage"]["inputTokens"] <= WINDOW - OUTPUT


def test_a_short_text_is_read_whole(http: httpx.Client) -> None:
    assert ask(http, LONG[:500])["coverage"] == 1


def test_messages_over_the_window_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(model="task:chat", messages=[{"role": "user", "content": LONG}])
    assert "context" in str(refused.value.code)


def test_a_structured_answer_has_the_form_that_was_asked_for(http: httpx.Client) -> None:
    """Its grammar holds even this model to the schema; what it says is noise."""
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string", "maxLength": 20}, "is_sure": {"type": "boolean"}},
        "required": ["answer", "is_sure"],
    }
    body = {"promptId": "query", "variables": {"question": "Where does the heron sleep?"}, "jsonSchema": schema}
    answer = http.post("/llm/query", json={**body, "waitSeconds": 30}).json()
    assert len(answer["data"]["answer"]) <= 20 and isinstance(answer["data"]["is_sure"], bool)
