"""Streamed queries over a real upstream: restarts, cut answers, clients that leave, and what the books say then."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.protocol_server.server import ProtocolServer
from tests.queries.conftest import ASKED, events_of
from tests.queries.upstream import CALLER, MODEL, SECOND, served_over
from tests.server_process import query, wait_until

pytestmark = pytest.mark.slow
STREAM = "/api/v1/llm/query/stream"
FIRST = "gpt-4o-mini"


@pytest.fixture
def http(upstream: ProtocolServer, database_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    with (
        served_over(upstream, database_url, tmp_path) as url,
        httpx.Client(base_url=url, headers=CALLER, timeout=40) as client,
    ):
        yield client


def stream(http: httpx.Client) -> list[tuple[str, Any]]:
    answer = http.post(STREAM, json=ASKED)
    assert answer.status_code == 200, answer.text
    return events_of(answer.text)


def test_a_stream_that_breaks_begins_anew_on_the_next_model(http: httpx.Client, upstream: ProtocolServer) -> None:
    upstream.script("stream_stall=2", model=FIRST)
    events = stream(http)
    names = [name for name, _ in events]
    assert names.count("restart") == 1 and names[-1] == "done"
    last = events[-1][1]
    assert (last["model"], len(last["attempts"])) == (SECOND, 2)
    after = "".join(data["content"] for name, data in events[names.index("restart") :] if name == "delta")
    stored = http.get(f"/api/v1/llm/query/{last['queryId']}/result").json()
    assert stored["content"] == after


def test_an_answer_that_stays_cut_ends_with_an_error(
    http: httpx.Client, upstream: ProtocolServer, database_url: str
) -> None:
    upstream.set_default("stream_end=2")
    events = stream(http)
    name, data = events[-1]
    assert name == "error" and data["error"]["code"] == "LLM_API_ERROR" and data["error"]["requestId"]
    assert "done" not in [name for name, _ in events]
    assert query(database_url, "SELECT status, lease_owner FROM queries") == [("FAILED", None)]


def test_a_fault_before_the_first_piece_is_an_ordinary_error(http: httpx.Client, upstream: ProtocolServer) -> None:
    upstream.set_default("401")
    answer = http.post(STREAM, json=ASKED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "LLM_AUTH")


def test_a_client_that_leaves_cancels_the_call_and_settles_the_books(
    http: httpx.Client, upstream: ProtocolServer, database_url: str
) -> None:
    upstream.script("stream_endless")
    with http.stream("POST", STREAM, json=ASKED) as answer:
        for line in answer.iter_lines():
            if line == "event: delta":
                break
    assert upstream.wait_idle(5.0) and upstream.calls[0].has_hung_up
    settled = "SELECT q.status, a.outcome FROM queries q JOIN llm_attempts a ON a.item_id = q.id"
    wait_until(lambda: query(database_url, settled) == [("CANCELLED", "CANCELLED")], "the row in order")


def test_a_client_that_leaves_before_the_first_piece_cancels_the_call(
    http: httpx.Client, upstream: ProtocolServer
) -> None:
    upstream.script("stream_hang")
    with pytest.raises(httpx.ReadTimeout):
        http.post(STREAM, json=ASKED, timeout=1)
    assert upstream.wait_idle(5.0) and upstream.calls[0].has_hung_up


def test_a_query_is_cancelled_upstream_by_delete(http: httpx.Client, upstream: ProtocolServer) -> None:
    upstream.set_default("latency=30")
    query_id = http.post("/api/v1/llm/query", json={**ASKED, "waitSeconds": 0}).json()["queryId"]
    wait_until(lambda: upstream.calls, "the call upstream")
    assert http.delete(f"/api/v1/llm/query/{query_id}").status_code == 204
    assert upstream.wait_idle(5.0) and upstream.calls[0].has_hung_up


def test_the_first_piece_passes_on_at_once(http: httpx.Client, upstream: ProtocolServer) -> None:
    upstream.script("stream_endless=0.3")
    with http.stream("POST", STREAM, json=ASKED) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if line == "event: delta")
        read_at = time.monotonic()
    sent_at = upstream.calls[0].first_byte_monotonic
    assert sent_at is not None and read_at - sent_at < 0.15


def test_a_query_that_failed_says_why(http: httpx.Client, upstream: ProtocolServer, database_url: str) -> None:
    upstream.set_default("content_filter")
    answer = http.post("/api/v1/llm/query", json=ASKED)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "LLM_CONTENT_REFUSED")
    [(query_id,)] = query(database_url, "SELECT id FROM queries")
    status = http.get(f"/api/v1/llm/query/{query_id}/status").json()
    assert (status["status"], status["error"]["code"]) == ("FAILED", "LLM_CONTENT_REFUSED")


def test_a_failure_tells_what_was_tried_and_what_it_cost(http: httpx.Client, upstream: ProtocolServer) -> None:
    upstream.script("500", "500", model="gpt-4o-mini")
    upstream.script("content_filter", model="gpt-4o")
    answer = http.post("/api/v1/llm/query", json=ASKED)
    details = answer.json()["error"]["details"]
    told = [(attempt["model"], attempt["errorCode"]) for attempt in details["attempts"]]
    assert told == [(MODEL, "LLM_API_ERROR")] * 2 + [(SECOND, "LLM_CONTENT_REFUSED")]
    assert details["attempts"][1]["reason"].startswith("try 2 after")
    assert details["costUsd"] == pytest.approx(details["attempts"][2]["costUsd"]) and details["costUsd"] > 0
    later = http.get(f"/api/v1/llm/query/{details['queryId']}/result").json()["error"]
    assert later["details"] == details


def test_a_structured_answer_has_been_checked(http: httpx.Client, upstream: ProtocolServer) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    answer = http.post("/api/v1/llm/query", json={**ASKED, "jsonSchema": schema}).json()
    assert isinstance(answer["data"]["answer"], str)
    assert len(upstream.calls) == 1
