"""Relevance: which text speaks of what a query asks for."""

import pytest

from app.context.relevance import passages_of, relevance, words_of
from tests.context.scripts import PROSE, long_document

LIBRARY = {
    "English": "library restoration",
    "German": "Fahrgäste Budapest",
    "Russian": "читальный зал",
    "Arabic": "ترميم المكتبة",
    "Thai": "ห้องสมุด",
    "Chinese": "图书馆",
    "Japanese": "図書館",
    "Korean": "도서관은",
}


@pytest.mark.parametrize("script", LIBRARY)
def test_the_text_in_the_language_of_the_query_is_the_most_relevant_one(script: str) -> None:
    texts = list(PROSE.values())
    scores = relevance(texts, LIBRARY[script])
    assert texts[scores.index(max(scores))] == PROSE[script]


def test_a_rare_word_weighs_more_than_a_frequent_one() -> None:
    frequent, rare, *_ = relevance(["the the house", "a zebra house", *["the end"] * 8], "the zebra")
    assert rare > frequent


def test_a_word_that_is_repeated_gains_less_each_time() -> None:
    once, twice, often = relevance(["cat dog dog", "cat cat dog", "cat cat cat"], "cat")
    assert often - twice < twice - once


def test_a_short_text_beats_a_long_one_with_as_many_hits() -> None:
    short, long = relevance(["cat dog", "cat " + "dog " * 30], "cat")
    assert short > long


def test_case_does_not_count() -> None:
    assert words_of("STRASSE Straße") == ["strasse", "strasse"]


@pytest.mark.parametrize(("texts", "query"), [([], "cat"), (["", ""], "cat"), (["cat"], "—")])
def test_where_nothing_is_found_nothing_is_relevant(texts: list[str], query: str) -> None:
    assert relevance(texts, query) == [0.0] * len(texts)


def test_passages_make_up_the_document() -> None:
    document = long_document(chars=20_000)
    passages = passages_of(document)
    assert "".join(document[start:end] for start, end in passages) == document
    assert all(400 < end - start <= 1_200 for start, end in passages[:-1])
