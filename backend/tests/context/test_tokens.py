"""Counting tokens: exact for OpenAI's models, without the network and without litellm, in linear time."""

import subprocess
import sys
from itertools import pairwise
from time import perf_counter

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from app.context.tokens import ESTIMATOR, Tokenizer, pieces, tokenizer_of
from tests.context.scripts import SAMPLES, long_document

O200K, CL100K = tokenizer_of("openai/gpt-4o-mini"), tokenizer_of("gpt-4")
MIXED = "\n".join(SAMPLES.values()) * 20

each_vocabulary = pytest.mark.parametrize("tokenizer", [O200K, CL100K], ids=lambda tokenizer: tokenizer.name)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/gpt-4o-mini", "o200k_base"),
        ("gpt-5-nano", "o200k_base"),
        ("openrouter/openai/gpt-4.1", "o200k_base"),
        ("local/gpt-oss-20b", "o200k_harmony"),
        ("azure/gpt-35-turbo", "cl100k_base"),
        ("anthropic/claude-sonnet-4-5", "estimate"),
        ("ollama/llama3.2", "estimate"),
        ("davinci", "estimate"),  # its vocabulary does not come with litellm
        ("", "estimate"),
    ],
)
def test_the_model_s_name_says_how_to_count(model: str, name: str) -> None:
    assert tokenizer_of(model).name == name


def test_only_the_estimator_has_a_margin() -> None:
    assert O200K.margin == 0 < ESTIMATOR.margin


@each_vocabulary
@pytest.mark.parametrize("text", [*SAMPLES.values(), MIXED, "", "half a pair \ud83d"])
def test_the_pieces_of_a_text_count_what_the_whole_counts(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.count(text) == len(tiktoken.get_encoding(tokenizer.name).encode_ordinary(text))


@given(st.text(max_size=200), st.integers(1, 60))
def test_pieces_are_bounded_and_make_up_the_text(text: str, times: int) -> None:
    found = list(pieces(text * times))
    assert "".join(found) == text * times
    assert all(len(piece) <= 4096 for piece in found)


@each_vocabulary
@pytest.mark.parametrize("run", ["a", " ", "\n", "字", "=", "👩‍🚀", "1"])
def test_a_run_without_an_end_is_counted_within_a_tenth_of_a_percent(tokenizer: Tokenizer, run: str) -> None:
    text = run * (60_000 // len(run))
    truth = len(tiktoken.get_encoding(tokenizer.name).encode_ordinary(text))
    assert truth <= tokenizer.count(text) <= truth * 1.001 + len(text) / 4096


def test_a_run_that_tiktoken_gives_up_on_is_counted() -> None:
    assert O200K.count(" " * 1_000_000) == pytest.approx(1_000_000 / 128, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["a", " ", "字"])
def test_counting_is_linear(run: str) -> None:
    def seconds(length: int) -> float:
        def once() -> float:
            begin = perf_counter()
            O200K.count(run * length)
            return perf_counter() - begin

        return min(once() for _ in range(5))

    # Four times the text; twice as much again is left to a busy machine, and quadratic would be sixteen.
    lengths = (100_000, 400_000)
    assert all(seconds(more) < 8 * seconds(less) for less, more in pairwise(lengths))


def test_counting_asks_neither_the_network_nor_litellm() -> None:
    script = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('the network was asked')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from app.context.tokens import tokenizer_of\n"
        "assert 'tiktoken' not in sys.modules\n"
        "print([tokenizer_of(model).count('Hello, library!') for model in ('gpt-4o', 'gpt-4', 'gpt-oss-20b')])\n"
        "assert 'litellm' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.stdout == "[4, 4, 4]\n", ran.stderr


def test_a_page_of_a_document_is_counted_like_the_page_alone() -> None:
    document = long_document(chars=50_000)
    assert O200K.count(document) == len(tiktoken.get_encoding("o200k_base").encode_ordinary(document))
