"""The estimator against three real vocabularies: too many tokens rather than too few, and not many times too many."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as HuggingFaceTokenizer

from app.context.estimate import ESTIMATE_MARGIN, estimate
from app.context.tokens import tokenizer_of
from tests.context.scripts import PROSE, SAMPLES

VOCABULARIES = ("o200k_base", "cl100k_base", "anthropic")


@cache
def counter(vocabulary: str) -> Callable[[str], int]:
    if vocabulary != "anthropic":
        tokenizer_of("gpt-4o").count("")  # says where the vocabularies are
        encoding = tiktoken.get_encoding(vocabulary)
        return lambda text: len(encoding.encode_ordinary(text))
    package = find_spec("litellm")
    assert package and package.submodule_search_locations
    folder = Path(package.submodule_search_locations[0]) / "litellm_core_utils" / "tokenizers"
    published = HuggingFaceTokenizer.from_file(str(folder / "anthropic_tokenizer.json"))
    return lambda text: len(published.encode(text).ids)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("script", SAMPLES)
def test_an_estimate_is_never_below_the_truth_by_more_than_its_margin(script: str, vocabulary: str) -> None:
    text = SAMPLES[script] * 3
    assert estimate(text) * (1 + ESTIMATE_MARGIN) >= counter(vocabulary)(text)


@pytest.mark.parametrize("script", sorted(PROSE))
def test_an_estimate_is_at_most_twice_what_the_hungriest_vocabulary_needs(script: str) -> None:
    text = PROSE[script] * 3
    assert estimate(text) <= 2 * max(counter(vocabulary)(text) for vocabulary in VOCABULARIES)


@given(st.text())
def test_any_text_has_an_estimate(text: str) -> None:
    assert (estimate(text) > 0) == bool(text)


@given(st.text(), st.text())
def test_a_longer_text_is_not_estimated_shorter(text: str, more: str) -> None:
    assert estimate(text) <= estimate(text + more) + 1
