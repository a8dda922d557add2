"""Every fault of a stream as a client sees it over a real socket, what it costs, and what the book says of it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

import httpx
import pytest

from tests.protocol_server.answers import words_for
from tests.protocol_server.conftest import MODES, Asker
from tests.protocol_server.faults.content import REFUSAL
from tests.protocol_server.faults.stream import STREAM_FAULTS

NOTE = "Remember the milk, and the bread from the corner"
FREE = {"stream_hang", "stream_empty", "stream_pings"}
BODY = {"model": "m", "messages": [{"role": "user", "content": NOTE}], "stream": True}


@contextmanager
def reading(asker: Asker, fault: str) -> Iterator[Iterator[str]]:
    """The data lines of a stream with this fault, one by one."""
    asker.server.script(fault)
    with asker.http.stream("POST", "/v1/chat/completions", json=BODY) as response:
        assert response.status_code == 200
        yield (line.removeprefix("data: ") for line in response.iter_lines() if line)


def text_of(data: str) -> str:
    choices = json.loads(data)["choices"]
    return (choices[0]["delta"].get("content") or "") if choices else ""


@pytest.mark.parametrize("fault", ["stream_reset=3", "reset_body"])
def test_a_reset_comes_after_the_chunks_that_were_sent(asker: Asker, fault: str) -> None:
    seen: list[str] = []
    with reading(asker, fault) as lines, pytest.raises(httpx.ReadError):
        seen.extend(text_of(line) for line in lines)
    call = asker.server.calls[0]
    assert len([text for text in seen if text]) == call.chunks_sent >= 3
    assert (call.is_complete, call.has_hung_up) == (False, False)
    assert call.billed_output_tokens > 0


def test_a_clean_end_leaves_out_finish_reason_and_end_marker(asker: Asker) -> None:
    with reading(asker, "stream_end=3") as lines:
        chunks = [json.loads(line) for line in lines]
    assert len(chunks) == 4
    assert {chunk["choices"][0]["finish_reason"] for chunk in chunks} == {None}
    assert not asker.server.calls[0].is_complete


def test_a_missing_end_marker_is_all_that_is_missing(asker: Asker) -> None:
    with reading(asker, "stream_no_done") as lines:
        *_, last = lines
    assert json.loads(last)["choices"][0]["finish_reason"] == "stop"
    assert asker.server.calls[0].is_complete


@pytest.mark.parametrize(("fault", "chunks"), [("stream_stall=2", 2), ("stream_hang", 0), ("hang_body", 10)])
def test_a_stall_lasts_until_the_client_leaves(asker: Asker, fault: str, chunks: int) -> None:
    asker.http.timeout = httpx.Timeout(0.2)
    with reading(asker, fault) as lines, pytest.raises(httpx.ReadTimeout):
        list(lines)
    assert asker.server.wait_idle()
    call = asker.server.calls[0]
    assert (call.chunks_sent >= chunks, call.has_hung_up, call.is_complete) == (True, True, False)
    assert call.first_byte_monotonic is not None


def test_an_empty_stream_has_not_one_event(asker: Asker) -> None:
    with reading(asker, "stream_empty") as lines:
        assert list(lines) == []


def test_a_slow_first_chunk_keeps_the_headers_waiting_for_nothing(asker: Asker) -> None:
    start = time.monotonic()
    with reading(asker, "stream_slow_first=0.2") as lines:
        headers_after = time.monotonic() - start
        assert next(lines)
        first_after = time.monotonic() - start
    assert headers_after < 0.15
    assert first_after > 0.19


def test_a_malformed_chunk_stands_between_good_ones(asker: Asker) -> None:
    with reading(asker, "stream_malformed=2") as lines:
        data = list(lines)
    with pytest.raises(json.JSONDecodeError):
        json.loads(data[3])
    good = [*data[:3], *data[4:-1]]
    assert ("".join(text_of(line) for line in good), data[-1]) == (words_for(NOTE), "[DONE]")


def test_an_error_event_ends_the_stream(asker: Asker) -> None:
    with reading(asker, "stream_error=2") as lines:
        *good, last = lines
    assert len(good) == 3
    assert json.loads(last)["error"]["type"] == "server_error"
    assert not asker.server.calls[0].is_complete


def test_an_endless_stream_ends_with_the_client_and_bills_as_it_goes(asker: Asker) -> None:
    whole = len(words_for(NOTE)) // 4
    with reading(asker, "stream_endless=0.001") as lines:
        for number, _line in enumerate(lines):
            if number == 200:
                break
    assert asker.server.wait_idle()
    call = asker.server.calls[0]
    assert call.has_hung_up
    assert call.billed_output_tokens > whole + 100


def test_pings_carry_no_text_and_never_end(asker: Asker) -> None:
    with reading(asker, "stream_pings=0.001") as lines:
        assert {next(lines) for _ in range(20)} == {": PROCESSING"}
    assert asker.server.wait_idle()
    assert (asker.server.calls[0].chunks_sent, asker.server.calls[0].has_hung_up) == (0, True)


def test_a_stream_may_come_as_one_body(asker: Asker) -> None:
    asker.server.script("unstreamed")
    response = asker.stream(NOTE)
    assert response.headers["content-type"] == "application/json"
    assert response.json()["choices"][0]["message"]["content"] == words_for(NOTE)


def test_the_bytes_of_a_stream_can_be_cut_in_the_middle(asker: Asker) -> None:
    asker.server.script("ok", "invalid_json")
    whole, cut = asker.stream(NOTE), asker.stream(NOTE)
    assert len(cut.content) == len(whole.content) // 2
    assert not asker.server.calls[1].is_complete


def test_headers_can_dribble_before_a_stream(asker: Asker) -> None:
    asker.server.script("slow_headers=0.1")
    start = time.monotonic()
    assert asker.stream(NOTE).text.endswith("data: [DONE]\n\n")
    assert time.monotonic() - start > 0.09


def test_a_stream_with_tools_has_filler_for_its_arguments(asker: Asker) -> None:
    asker.server.script("stream_endless=0.001")
    body = {**BODY, **MODES["tools"]}
    with asker.http.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = (line.removeprefix("data: ") for line in response.iter_lines() if line)
        *_, last = (line for _number, line in zip(range(60), lines, strict=False))
    assert json.loads(last)["choices"][0]["delta"]["tool_calls"][0]["function"] == {"arguments": " "}


def test_html_comes_instead_of_a_stream(asker: Asker) -> None:
    asker.server.script("html")
    assert asker.stream(NOTE).headers["content-type"] == "text/html; charset=utf-8"


def test_an_error_before_the_stream_is_an_ordinary_one(asker: Asker) -> None:
    asker.server.script("429_retry_after=3")
    response = asker.stream(NOTE)
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")


@pytest.mark.parametrize(
    ("fault", "reason", "key", "text"),
    [("content_filter", "content_filter", "content", ""), ("refusal", "stop", "refusal", REFUSAL)],
)
def test_refused_content_says_so_in_its_stream(asker: Asker, fault: str, reason: str, key: str, text: str) -> None:
    with reading(asker, fault) as lines:
        choices = [json.loads(line)["choices"][0] for line in lines if line != "[DONE]"]
    assert choices[-1]["finish_reason"] == reason
    assert "".join(choice["delta"].get(key) or "" for choice in choices) == text


def test_an_answer_cut_at_its_length_says_so_in_its_stream(asker: Asker) -> None:
    with reading(asker, "cut") as lines:
        *chunks, last, _done = lines
    assert json.loads(last)["choices"][0]["finish_reason"] == "length"
    assert words_for(NOTE).startswith("".join(text_of(chunk) for chunk in chunks))


def test_a_huge_stream_arrives_whole(asker: Asker) -> None:
    with reading(asker, "huge=50") as lines:
        assert sum(len(text_of(line)) for line in lines if line != "[DONE]") == 50_000_000


def test_a_slow_body_spreads_the_chunks_over_its_time(asker: Asker) -> None:
    times = []
    with reading(asker, "slow_body=0.3") as lines:
        times += [time.monotonic() for _line in lines]
    assert 0.25 < times[-1] - times[0] < 2
    assert max(later - sooner for sooner, later in pairwise(times)) < 0.2


@pytest.mark.parametrize("fault", sorted(STREAM_FAULTS))
def test_what_lets_no_text_out_is_free_and_all_else_is_billed(asker: Asker, fault: str) -> None:
    asker.http.timeout = httpx.Timeout(0.3)
    asker.server.script(
        {"stream_slow_first": "stream_slow_first=0.1", "stream_pings": "stream_pings=1"}.get(fault, fault)
    )
    with suppress(httpx.HTTPError), asker.http.stream("POST", "/v1/chat/completions", json=BODY) as response:
        for number, _line in enumerate(response.iter_lines()):
            if number == 100:
                break
    assert asker.server.wait_idle()
    assert (asker.server.calls[0].billed_input_tokens == 0) == (fault in FREE)


@pytest.mark.parametrize("fault", ["stream_reset=0", "stream_end=0", "stream_stall=0", "stream_error=0"])
def test_before_the_first_chunk_nothing_was_made(asker: Asker, fault: str) -> None:
    asker.http.timeout = httpx.Timeout(0.3)
    with suppress(httpx.HTTPError), reading(asker, fault) as lines:
        assert [line for line in lines if "error" not in line] == []
    assert asker.server.wait_idle()
    assert asker.server.calls[0].billed_input_tokens == 0


@pytest.mark.parametrize("fault", sorted(STREAM_FAULTS))
def test_a_call_without_a_stream_cannot_have_a_streams_fault(asker: Asker, fault: str) -> None:
    response = asker.post(f"{NOTE} [[fault:{fault}]]")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unknown_fault")
    assert asker.server.calls == []


def test_a_marker_reaches_a_stream(asker: Asker) -> None:
    text = f"{NOTE} [[fault:latency=0.1+stream_end=1,ok]]"
    start = time.monotonic()
    short, whole = asker.stream(text), asker.stream(text)
    assert time.monotonic() - start > 0.09
    assert ("[DONE]" in short.text, "[DONE]" in whole.text) == (False, True)
