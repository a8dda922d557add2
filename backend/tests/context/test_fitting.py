"""Fitting: never above the budget, in order, with every gap marked, and the share that is left told truly."""

import re
from time import perf_counter

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from app.context.fitting import GAP, Fitted, Strategy, fit
from app.context.tokens import ESTIMATOR, Count, tokenizer_of
from tests.context.scripts import SAMPLES, long_document

TOKENS = tokenizer_of("gpt-4o").count
REPORT = long_document(chars=500_000)  # some two hundred pages
COUNTS: dict[str, Count] = {
    "tokens": TOKENS,
    "estimate": ESTIMATOR.count,
    "characters": len,
    "bytes": lambda text: len(text.encode("utf-8", "surrogatepass")),
    "words": lambda text: len(text.split()),
}

each_strategy = pytest.mark.parametrize("strategy", Strategy)
documents = st.lists(
    st.sampled_from([*SAMPLES.values(), "\n\n", " ", "e\u0301", "\r\n", "\ud83d", GAP]) | st.text(max_size=30),
    max_size=40,
).map("".join)


def parts_of(fitted: Fitted) -> list[str]:
    return [part for part in re.split(r"\s*\[…\]\s*", fitted.text) if part]


def numbers_in(fitted: Fitted) -> list[int]:
    return [int(number) for number in re.findall(r"Paragraph (\d+)", fitted.text)]


@each_strategy
@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)
@given(document=documents, budget=st.integers(0, 1_500), query=st.sampled_from(["", "library", "图书馆", "count"]))
def test_the_budget_is_never_exceeded(strategy: Strategy, count: Count, document: str, budget: int, query: str) -> None:
    fitted = fit(document, budget, count, strategy, query=query)
    assert fitted.tokens == count(fitted.text) <= budget


@each_strategy
@given(document=documents, budget=st.integers(0, 1_500))
def test_coverage_is_one_exactly_when_nothing_was_left_out(strategy: Strategy, document: str, budget: int) -> None:
    fitted = fit(document, budget, len, strategy, query="library")
    assert (fitted.coverage == 1) == (fitted.text == document) == (len(document) <= budget)
    assert (fitted.strategy is None) == (fitted.coverage == 1)


@each_strategy
@given(document=documents.filter(lambda document: "[…]" not in document), budget=st.integers(0, 1_500))
def test_what_is_left_stands_in_the_document_in_this_order_and_is_what_coverage_says(
    strategy: Strategy, document: str, budget: int
) -> None:
    fitted = fit(document, budget, len, strategy, query="library")
    place = 0
    for part in parts_of(fitted):
        place = document.index(part.strip(), place) + len(part.strip())
    kept = len(fitted.text) - sum(len(gap) for gap in re.findall(r"\n\n\[…\]\n\n|^\[…\]\n\n|\n\n\[…\]$", fitted.text))
    assert fitted.coverage == pytest.approx(kept / len(document) if document else 1)


@each_strategy
@given(document=documents.filter(lambda document: "[…]" not in document), budget=st.integers(20, 600))
def test_no_character_is_cut(strategy: Strategy, document: str, budget: int) -> None:
    fitted = fit(document, budget, len, strategy, query="library")
    clusters = set(regex.findall(r"\X", document))
    assert all(set(regex.findall(r"\X", part)) <= clusters | {" ", "\n"} for part in parts_of(fitted))


def test_two_hundred_pages_are_read_at_head_middle_and_tail() -> None:
    fitted = fit(REPORT, 6_000, TOKENS)
    last = int(re.findall(r"Paragraph (\d+)", REPORT)[-1])
    numbers = numbers_in(fitted)
    assert numbers[0] == 1 and numbers[-1] == last
    assert any(abs(number / last - 0.5) < 0.05 for number in numbers)
    assert fitted.text.count(GAP) == 2 and fitted.text.endswith(REPORT[-100:])


@pytest.mark.parametrize(
    ("strategy", "has_head", "has_tail", "gaps"),
    [
        (Strategy.HEAD, True, False, 1),
        (Strategy.TAIL, False, True, 1),
        (Strategy.MIDDLE_OUT, True, True, 1),
        (Strategy.SPREAD, True, True, 2),
    ],
)
def test_a_strategy_keeps_its_ends(strategy: Strategy, *, has_head: bool, has_tail: bool, gaps: int) -> None:
    fitted = fit(REPORT, 2_000, TOKENS, strategy)
    assert fitted.text.startswith(REPORT[:100]) == has_head
    assert fitted.text.endswith(REPORT[-100:]) == has_tail
    assert fitted.text.count("[…]") == gaps
    assert fitted.strategy is strategy


@each_strategy
@pytest.mark.parametrize("budget", [500, 6_000, 60_000])
def test_little_of_a_budget_is_left_unused(strategy: Strategy, budget: int) -> None:
    assert fit(REPORT, budget, TOKENS, strategy, query="Member 5").tokens > 0.85 * budget


def test_parts_of_prose_are_whole_sentences() -> None:
    parts = parts_of(fit(REPORT, 1_000, TOKENS))
    assert all(re.match(r"[A-Z]", part) and part[-1] in ".!?" for part in parts)


def test_the_passages_that_answer_a_query_are_kept() -> None:
    document = REPORT + "\n\nThe zeppelin was moored at noon.\n\n" + REPORT
    fitted = fit(document, 2_000, TOKENS, Strategy.RELEVANT, query="When was the Zeppelin moored?")
    assert "zeppelin was moored at noon" in fitted.text
    assert fitted.strategy is Strategy.RELEVANT


@pytest.mark.parametrize("query", [None, "", "?!", "unheard"])
def test_a_query_that_finds_nothing_gets_the_text_at_head_middle_and_tail(query: str | None) -> None:
    fitted = fit(REPORT, 2_000, TOKENS, Strategy.RELEVANT, query=query)
    assert fitted == fit(REPORT, 2_000, TOKENS)


def test_a_passage_that_is_larger_than_the_budget_is_shown_from_its_head() -> None:
    fitted = fit("filler " * 1_000 + "needle " * 300, 100, TOKENS, Strategy.RELEVANT, query="needle")
    assert "needle" in fitted.text and fitted.tokens > 60


def test_one_long_word_is_cut_all_the_same() -> None:
    fitted = fit("x" * 100_000, 1_000, len)
    assert 0.009 < fitted.coverage < 0.01


def test_a_budget_of_nothing_shows_nothing() -> None:
    assert fit(REPORT, 0, TOKENS) == Fitted("", 0.0, 0, Strategy.SPREAD)


def test_a_tokenizer_that_counts_parts_for_less_than_the_whole_is_held_to_its_budget() -> None:
    fitted = fit(REPORT[:20_000], 5_000, lambda text: len(text) ** 2 // 1_000)
    assert 2_000 < fitted.tokens <= 5_000


@each_strategy
@pytest.mark.parametrize("run", ["a", " ", "\n", ".", "🇩🇪", "e" + "\u0301" * 300, ". ", "word "])
def test_a_long_run_of_anything_takes_no_long_time(strategy: Strategy, run: str) -> None:
    begin = perf_counter()
    fitted = fit(run * (600_000 // len(run)), 50_000, ESTIMATOR.count, strategy, query="word")
    # Half a second at the most; what is quadratic in them takes minutes.
    assert fitted.tokens <= 50_000 and perf_counter() - begin < 20
