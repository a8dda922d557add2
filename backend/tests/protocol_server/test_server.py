"""The book, the control routes, the ways to run the server, and what it does with bad requests."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.protocol_server.answers import digest_of
from tests.protocol_server.calls import Call, read_calls
from tests.protocol_server.conftest import KEY, Asker
from tests.protocol_server.server import ProtocolServer, running_server

BACKEND = Path(__file__).parents[2]
BODY = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
HEADERS = {"authorization": f"Bearer {KEY}"}


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server as a process of its own, and its base URL."""
    command = [sys.executable, "-m", "tests.protocol_server", *arguments]
    with subprocess.Popen(command, cwd=BACKEND, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield running, running.stdout.readline().removeprefix("listening on ").strip()
        finally:
            running.kill()


def test_the_book_holds_what_arrived_but_no_key_and_no_text(asker: Asker) -> None:
    asker.http.headers["x-correlation-id"] = "attempt-7"
    asker.post("a secret note")
    (call,) = asker.server.calls
    assert (call.seq, call.model, call.fault, call.status) == (1, "gpt-4o-mini", "ok", 200)
    assert (call.correlation_id, call.messages) == ("attempt-7", 1)
    assert (call.key_sha256, call.text_sha256) == (digest_of(KEY), digest_of("a secret note"))
    assert call.ended_monotonic is not None
    assert call.arrived_monotonic <= call.ended_monotonic
    assert KEY not in repr(call)
    assert "secret" not in repr(call)


def test_the_book_is_complete_when_the_client_has_its_answer(asker: Asker) -> None:
    for number in range(50):
        asker.post(str(number))
        assert asker.server.calls[-1].ended_at is not None


def test_the_file_holds_the_same_calls_and_outlives_a_run(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    kept: list[Call] = []
    for _ in range(2):
        with running_server(log_path=log) as server, httpx.Client(headers=HEADERS) as http:
            http.post(f"{server.base_url}/chat/completions", json=BODY)
            kept += server.calls
    assert read_calls(log) == kept
    assert len({(call.run, call.seq) for call in kept}) == 2


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    with running_server(log_path=log) as server, httpx.Client(headers=HEADERS) as http:
        http.post(f"{server.base_url}/chat/completions", json=BODY)
    with log.open("ab") as file:
        file.write(b'{"run": "x", "se')
    assert len(read_calls(log)) == 1


def test_a_killed_server_leaves_the_open_call_in_its_file(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    with process("--log", str(log), "--default", "slow_body=60") as (running, base_url):
        request = httpx.Request("POST", f"{base_url}/chat/completions", json=BODY, headers=HEADERS)
        with httpx.Client() as http:
            response = http.send(request, stream=True)
            running.kill()
            running.wait(10)
            response.close()
    (call,) = read_calls(log)
    assert call.ended_at is None
    assert call.billed_output_tokens > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly_with_a_hang_open(number: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    with process("--log", str(log), "--default", "hang_body") as (running, base_url):
        request = httpx.Request("POST", f"{base_url}/chat/completions", json=BODY, headers=HEADERS)
        with httpx.Client() as http:
            response = http.send(request, stream=True)
            os.kill(running.pid, number)
            assert running.wait(10) == 0
            response.close()
    (call,) = read_calls(log)
    assert (call.ended_at is not None, call.has_hung_up) == (True, False)


def test_the_command_line_sets_latency_and_mix() -> None:
    options = ("--latency", "0.05", "--fault-rate", "1", "--weights", "429_retry_after=3:1", "--seed", "1")
    with process(*options) as (_running, base_url):
        response = httpx.post(f"{base_url}/chat/completions", json=BODY, headers=HEADERS)
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")


def test_help_lists_the_faults() -> None:
    command = [sys.executable, "-m", "tests.protocol_server", "--help"]
    text = subprocess.run(command, cwd=BACKEND, capture_output=True, text=True, check=True).stdout
    assert re.search(r"429_retry_after=1 +429 with Retry-After in seconds\.", text)


def test_control_routes_script_and_report(asker: Asker) -> None:
    http = asker.http
    wish = {"faults": ["500"], "model": "m", "default": "404", "mix": {"rate": 0.0}, "latency_seconds": 0.01}
    assert http.post("/control/script", json=wish).json()["script_left"] == 1
    answers = [http.post("/v1/chat/completions", json=BODY).status_code for _ in range(2)]
    records = http.get("/control/calls", params={"since": 1}).json()
    stats = http.get("/control/stats").json()
    assert answers == [500, 404]
    assert [Call.from_record(record) for record in records] == asker.server.calls[1:]
    assert (stats["calls"], stats["open"], stats["peak_open"]) == (2, 0, 1)
    assert stats["by_fault"] == {"500": 1, "404": 1}
    http.post("/control/reset")
    assert http.get("/control/calls").json() == []


@pytest.mark.parametrize("body", [{"faults": ["nonsense"]}, {"mix": {"rat": 1}}, {"default": "x"}, [1]])
def test_a_bad_script_is_refused(asker: Asker, body: object) -> None:
    assert asker.http.post("/control/script", json=body).status_code == 400
    assert asker.post("a").status_code == 200


def test_the_models_are_listed(asker: Asker) -> None:
    assert "gpt-4o-mini" in [model["id"] for model in asker.http.get("/v1/models").json()["data"]]


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"messages": [1]}', b'{"messages": [], "tools": [1]}'])
def test_a_body_that_is_no_completion_request_is_refused_and_no_call(asker: Asker, content: bytes) -> None:
    response = asker.http.post("/v1/chat/completions", content=content)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    assert asker.server.calls == []


def test_no_key_is_a_401_and_no_call(server: ProtocolServer) -> None:
    assert httpx.post(f"{server.base_url}/chat/completions", json=BODY).status_code == 401
    assert server.calls == []


def test_an_unknown_address_is_a_404_in_the_vendors_words(asker: Asker) -> None:
    assert asker.http.get("/v1/nothing").json()["error"]["message"] == "Invalid URL (GET /v1/nothing)"


def test_what_is_not_http_is_answered_with_400_and_the_end(server: ProtocolServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
        raw.sendall(b"HELLO\r\n\r\n")
        assert raw.makefile("rb").read().startswith(b"HTTP/1.1 400 ")


def test_one_connection_serves_many_calls_and_a_body_in_chunks(asker: Asker) -> None:
    for _ in range(3):
        pieces = iter([b'{"model": "m", "messages": ', b'[{"role": "user", "content": "a"}]}'])
        assert asker.http.post("/v1/chat/completions", content=pieces).status_code == 200
    assert asker.server.stats()["connections"] == 1


def test_it_runs_on_the_loop_of_the_caller() -> None:
    async def ask() -> tuple[int, int]:
        async with ProtocolServer(latency_seconds=0.05) as server, httpx.AsyncClient(headers=HEADERS) as http:
            url = f"{server.base_url}/chat/completions"
            responses = await asyncio.gather(*(http.post(url, json=BODY) for _ in range(5)))
            return sum(response.status_code == 200 for response in responses), len(server.calls)

    assert asyncio.run(ask()) == (5, 5)
