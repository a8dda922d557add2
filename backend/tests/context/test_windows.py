"""The sum of a window: prompt and answer never exceed it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.context.tokens import ESTIMATOR, Tokenizer, tokenizer_of
from app.context.windows import UNKNOWN_WINDOW, Window, room_for_document

EXACT = tokenizer_of("gpt-4o")


def test_a_large_window_leaves_the_document_what_nobody_else_needs() -> None:
    room = room_for_document(Window(128_000, 16_384), EXACT, fixed_tokens=400, output_tokens=1_000)
    assert room == 128_000 - 1_280 - 1_000 - 30 - 400


def test_an_estimated_prompt_leaves_room_for_the_error_of_the_estimate() -> None:
    exact = room_for_document(Window(8_192), EXACT, fixed_tokens=400, output_tokens=1_000)
    guessed = room_for_document(Window(8_192), ESTIMATOR, fixed_tokens=400, output_tokens=1_000)
    assert exact is not None and guessed is not None and guessed < exact


def test_an_answer_is_bounded_by_what_the_model_can_write() -> None:
    bounded = room_for_document(Window(8_192, 500), EXACT, fixed_tokens=0, output_tokens=1_000)
    assert bounded == room_for_document(Window(8_192), EXACT, fixed_tokens=0, output_tokens=500)


def test_instructions_that_fill_the_window_do_not_fit() -> None:
    assert room_for_document(UNKNOWN_WINDOW, EXACT, fixed_tokens=4_000, output_tokens=1_000) is None


@pytest.mark.parametrize("tokenizer", [EXACT, ESTIMATOR], ids=["exact", "estimated"])
@given(window=st.integers(1, 300_000), fixed=st.integers(0, 50_000), output=st.integers(0, 50_000))
def test_prompt_and_answer_never_exceed_the_window(tokenizer: Tokenizer, window: int, fixed: int, output: int) -> None:
    room = room_for_document(Window(window), tokenizer, fixed_tokens=fixed, output_tokens=output)
    if room is not None:
        assert room >= 1
        assert (room + fixed) * (1 + tokenizer.margin) + output <= window
