"""Questions and answers stay where they belong too: queries, streams and chat at debug level, through faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.migrations import migrate
from tests.canary import ANSWERS, CANARIES, KEY, OWNER, SENTENCE
from tests.engines import fresh_database
from tests.protocol_server.server import running_server
from tests.server_process import Json, Processes, query

pytestmark = pytest.mark.slow
SURFACES: dict[str, tuple[str, Json]] = {
    "query": ("/api/v1/llm/query", {}),
    "stream": ("/api/v1/llm/query/stream", {}),
    "chat": ("/v1/chat/completions", {"model": "openai/gpt-4o-mini"}),
    "chat stream": ("/v1/chat/completions", {"model": "openai/gpt-4o-mini", "stream": True}),
}
WHOLE = ("ok", "500", "html", "content_filter", "401")
STREAMED = ("ok", "stream_reset", "stream_malformed", "stream_error", "500", "401")
BAD: tuple[Json, ...] = (
    {"messages": SENTENCE},
    {"messages": [{"role": SENTENCE, "content": SENTENCE}]},
    {"messages": [{"role": "user", "content": f"{SENTENCE}\x00"}]},
    {"messages": [{"role": "user", "content": SENTENCE}], "model": SENTENCE},
    {"messages": [{"role": "user", "content": SENTENCE}], "temperature": SENTENCE},
    {"prompt": SENTENCE, "variables": {SENTENCE: SENTENCE}},
)


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, dict[str, str]]]:
    """The log of the server, what is on its books, and its refusals by what was asked."""
    for url in fresh_database(migrate):
        yield ask_everything(tmp_path_factory.mktemp("canary"), url)


def ask_everything(folder: Path, database_url: str) -> tuple[str, str, dict[str, str]]:
    processes = Processes(folder, database_url)
    said: dict[str, str] = {}
    try:
        with running_server() as upstream:
            server = processes.start_server(
                OPENAI_API_KEY=KEY,
                log_level="debug",
                llm_provider="litellm",
                llm_model="openai/gpt-4o-mini",
                llm_api_base=upstream.base_url,
                llm_timeout_seconds=5,
                llm_circuit_faults=1000,
            )
            for name, (path, fields) in SURFACES.items():
                for fault in STREAMED if "stream" in name else WHOLE:
                    content = f"{SENTENCE} [[fault:{fault}]]"
                    body = {"messages": [{"role": "user", "content": content}], **fields}
                    answer = server.http.post(path, json=body, timeout=30, **server.as_user(OWNER))
                    if answer.status_code >= 400:
                        said[f"{name} {fault}"] = answer.text
                for place, bad in enumerate(BAD):
                    answer = server.http.post(path, json={**fields, **bad}, **server.as_user(OWNER))
                    said[f"{name} bad {place}"] = answer.text
                    assert 400 <= answer.status_code < 500, (name, place, answer.text)
            server.stop()
            assert upstream.calls
    finally:
        processes.close()
    return server.log, str(query(database_url, "SELECT * FROM llm_attempts")), said


def test_the_log_knows_nothing_of_what_was_asked_and_answered(left_behind: tuple[str, str, dict[str, str]]) -> None:
    log, _, _ = left_behind
    assert log.count("request.handled") >= len(SURFACES) * (len(WHOLE) + len(BAD))
    assert [line for line in log.splitlines() if any(word.lower() in line.lower() for word in CANARIES + ANSWERS)] == []


def test_the_books_know_nothing_of_it(left_behind: tuple[str, str, dict[str, str]]) -> None:
    _, books, _ = left_behind
    assert "gpt-4o-mini" in books
    assert [word for word in CANARIES + ANSWERS if word.lower() in books.lower()] == []


def test_a_refusal_repeats_nothing_of_it(left_behind: tuple[str, str, dict[str, str]]) -> None:
    _, _, said = left_behind
    assert len(said) > len(SURFACES) * len(BAD)
    assert {name: text for name, text in said.items() if any(w.lower() in text.lower() for w in CANARIES)} == {}
