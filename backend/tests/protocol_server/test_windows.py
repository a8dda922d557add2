"""What the book says about pace, compared with counting by hand."""

from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol_server.calls import Call
from tests.protocol_server.conftest import Asker
from tests.protocol_server.windows import gaps_seconds, most_calls, most_tokens

CALL = Call(
    run="r",
    seq=1,
    arrived_at=datetime(2026, 1, 1, tzinfo=UTC),
    arrived_monotonic=0.0,
    path="/v1/chat/completions",
    model="m",
    mode="plain",
    messages=1,
    text_sha256="",
    first_text_sha256="",
    correlation_id=None,
    key_sha256=None,
    fault="ok",
)


def call_at(seconds: float, tokens: int = 0) -> Call:
    return replace(CALL, arrived_monotonic=seconds, billed_input_tokens=tokens, billed_output_tokens=1)


def test_a_window_holds_its_start_and_not_its_end() -> None:
    calls = [call_at(0), call_at(60), call_at(119.9), call_at(120)]
    assert most_calls(calls, 60) == 2
    assert most_calls(calls, 60.1) == 3


def test_tokens_are_weighed_both_ways() -> None:
    calls = [call_at(0, 100), call_at(1, 5), call_at(1.5, 5), call_at(30, 50)]
    assert most_tokens(calls, 2) == 113
    assert most_tokens([], 2) == 0


def test_gaps_are_between_arrivals_in_order() -> None:
    assert gaps_seconds([call_at(5), call_at(1), call_at(2)]) == [1, 3]
    assert gaps_seconds([call_at(5)]) == []


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 50))), st.integers(1, 80))
def test_no_window_is_heavier_than_the_heaviest(arrivals: list[tuple[int, int]], width: int) -> None:
    calls = [call_at(seconds, tokens) for seconds, tokens in arrivals]
    windows = [[tokens for at, tokens in arrivals if start <= at < start + width] for start in range(201)]
    assert most_calls(calls, width) == max(map(len, windows))
    assert most_tokens(calls, width) == max(sum(window) + len(window) for window in windows)


def test_the_book_knows_when_the_first_byte_left_and_what_kind_of_call_it_was(asker: Asker) -> None:
    asker.server.script("latency=0.1", "hang_headers")
    asker.stream("a")
    asker.http.timeout = httpx.Timeout(0.05)
    with pytest.raises(httpx.ReadTimeout):
        asker.message("a")
    assert asker.server.wait_idle()
    streamed, silent = asker.server.calls
    assert streamed.first_byte_monotonic is not None
    assert streamed.first_byte_monotonic - streamed.arrived_monotonic > 0.09
    assert (streamed.wire, streamed.is_stream, streamed.is_complete) == ("openai", True, True)
    assert (silent.wire, silent.is_stream, silent.first_byte_monotonic) == ("anthropic", False, None)


def test_control_tells_the_heaviest_window(asker: Asker) -> None:
    for _ in range(3):
        asker.post("a")
    call = asker.server.calls[0]
    tokens = 3 * (call.billed_input_tokens + call.billed_output_tokens)
    assert asker.http.get("/control/windows", params={"seconds": 60}).json() == {"calls": 3, "tokens": tokens}
    assert asker.http.get("/control/windows", params={"seconds": "x"}).status_code == 400
