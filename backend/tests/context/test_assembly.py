"""Putting a prompt's material together within a budget, off the event loop, and not twice."""

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.context.assembly import Assembled, ContextDesk, Piece, assemble
from app.context.compression import Steps, compress
from app.context.fitting import Strategy, fit
from app.context.tokens import ESTIMATOR, Tokenizer, tokenizer_of
from app.context.windows import DoesNotFit
from tests.context.scripts import PROSE, long_document

TOKENS = tokenizer_of("gpt-4o").count
DOCUMENT = long_document(chars=20_000)
pieces_of_texts = st.lists(
    st.builds(
        Piece,
        name=st.uuids().map(str),
        text=st.sampled_from([*PROSE.values(), DOCUMENT, ""]),
        priority=st.integers(0, 3),
        is_required=st.booleans(),
        least_tokens=st.integers(0, 50),
        strategy=st.sampled_from(Strategy),
    ),
    max_size=6,
)


def assembled(*pieces: Piece, budget: int, query: str | None = None) -> Assembled:
    result = assemble(pieces, budget, len, query=query)
    assert isinstance(result, Assembled)
    return result


def test_what_fits_stands_in_the_order_in_which_it_was_given() -> None:
    result = assembled(Piece("system", "Be brief.", 1), Piece("example", "A: b", 2), Piece("text", "It."), budget=30)
    assert result.text == "Be brief.\n\nA: b\n\nIt."
    assert result.tokens == len(result.text)


def test_the_most_important_piece_gets_room_first() -> None:
    result = assembled(Piece("earlier", "x" * 50, 2), Piece("text", "y" * 50, 1), budget=60, query=None)
    assert result.coverage_of("text") == 1
    assert result.coverage_of("earlier") < 1


def test_of_equal_pieces_the_relevant_one_gets_room_first() -> None:
    boat, bread = Piece("boat", "About the boat and its sails"), Piece("bread", "About bread and its crust.")
    result = assembled(boat, bread, budget=30, query="bread?")
    assert list(result.parts) == ["bread"] and result.coverage_of("boat") == 0


def test_a_piece_of_which_too_little_is_left_is_left_out() -> None:
    result = assembled(Piece("text", "y" * 50), Piece("earlier", "word " * 100, 1, least_tokens=40), budget=80)
    assert list(result.parts) == ["text"]


def test_a_required_piece_goes_in_whole_before_all_others() -> None:
    result = assembled(Piece("text", "y" * 90), Piece("rules", "z" * 50, 9, is_required=True), budget=100)
    assert result.coverage_of("rules") == 1 and 0 < result.coverage_of("text") < 1


def test_required_pieces_that_are_too_large_say_what_they_need() -> None:
    pieces = [Piece("rules", "z" * 50, is_required=True), Piece("form", "f" * 60, is_required=True), Piece("text", "t")]
    assert assemble(pieces, 100, len) == DoesNotFit(112, 100)
    assert isinstance(assemble(pieces, 112, len), Assembled)


@given(pieces_of_texts, st.integers(0, 3_000), st.sampled_from([None, "library", "图书馆"]))
def test_the_budget_is_never_exceeded(pieces: list[Piece], budget: int, query: str | None) -> None:
    result = assemble(pieces, budget, TOKENS, query=query)
    if isinstance(result, Assembled):
        assert result.tokens == TOKENS(result.text) <= budget
        assert all(result.coverage_of(piece.name) == 1 for piece in pieces if piece.is_required and piece.text)
    else:
        assert result.needed_tokens > budget


def test_pieces_that_count_more_together_are_held_to_the_budget() -> None:
    result = assemble([Piece("a", "x" * 40), Piece("b", "y" * 40)], 250, lambda text: len(text) ** 2 // 16)
    assert isinstance(result, Assembled) and 0 < result.tokens <= 250


class Spy:
    """A tokenizer that notes on which thread it counted what."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.tokenizer = Tokenizer("spy", self.count)

    def count(self, text: str) -> int:
        self.threads.append(threading.current_thread())
        return len(text)


async def test_a_desk_gives_what_the_pure_functions_give() -> None:
    desk = ContextDesk()
    assert await desk.count(DOCUMENT, ESTIMATOR) == ESTIMATOR.count(DOCUMENT)
    assert await desk.fit(DOCUMENT, 900, ESTIMATOR) == fit(DOCUMENT, 900, ESTIMATOR.count)
    assert await desk.compress("a  b", ESTIMATOR) == compress("a  b", ESTIMATOR.count)


async def test_large_texts_are_counted_on_another_thread() -> None:
    spy = Spy()
    await ContextDesk().fit(DOCUMENT, 500, spy.tokenizer)
    assert threading.current_thread() not in spy.threads


async def test_a_small_text_is_counted_at_once_when_the_vocabulary_is_there() -> None:
    spy, desk = Spy(), ContextDesk()
    await desk.count("first", spy.tokenizer)
    await desk.count("second", spy.tokenizer)
    assert [thread is threading.current_thread() for thread in spy.threads] == [False, True]


@pytest.mark.parametrize("document", ["short", DOCUMENT], ids=["short", "long"])
async def test_the_same_work_is_done_once(document: str) -> None:
    spy, desk = Spy(), ContextDesk()
    first = await desk.fit(document, 500, spy.tokenizer)
    times = len(spy.threads)
    assert await desk.fit(document, 500, spy.tokenizer) is first
    assert len(spy.threads) == times


async def test_another_text_budget_tokenizer_strategy_or_query_is_other_work() -> None:
    desk, spy = ContextDesk(), Spy()
    results = [
        await desk.fit(DOCUMENT, 500, spy.tokenizer),
        await desk.fit(DOCUMENT[1:], 500, spy.tokenizer),
        await desk.fit(DOCUMENT, 501, spy.tokenizer),
        await desk.fit(DOCUMENT, 500, ESTIMATOR),
        await desk.fit(DOCUMENT, 500, spy.tokenizer, Strategy.HEAD),
        await desk.fit(DOCUMENT, 500, spy.tokenizer, Strategy.RELEVANT, query="member 7"),
        await desk.fit(DOCUMENT, 500, spy.tokenizer, Strategy.RELEVANT, query="member 9"),
    ]
    assert len({id(result) for result in results}) == len(results)
    wide = "a  b  c  d  e  f  g"
    assert await desk.compress(wide, spy.tokenizer, Steps(blanks=False)) != await desk.compress(wide, spy.tokenizer)


async def test_a_text_is_forgotten_after_ten_minutes() -> None:
    hands = [0.0]
    desk, spy = ContextDesk(lambda: hands[0]), Spy()
    first = await desk.fit(DOCUMENT, 500, spy.tokenizer)
    hands[0] = 601
    assert await desk.fit(DOCUMENT, 500, spy.tokenizer) is not first


async def test_memory_is_bounded() -> None:
    desk, spy = ContextDesk(), Spy()
    texts = [str(number) + "x" * 3_000_000 for number in range(4)]
    first, *_ = [await desk.fit(text, 9_000_000, spy.tokenizer) for text in texts]
    assert await desk.fit(texts[0], 9_000_000, spy.tokenizer) is not first
    huge = "x" * 9_000_000
    assert await desk.fit(huge, 9_000_000, spy.tokenizer) is not await desk.fit(huge, 9_000_000, spy.tokenizer)


async def test_a_desk_serves_many_at_once() -> None:
    desk = ContextDesk()
    results = await asyncio.gather(*(desk.fit(DOCUMENT, 400 + number, ESTIMATOR) for number in range(20)))
    assert all(result.tokens <= 400 + number for number, result in enumerate(results))
