"""The work on texts for a whole process: off the event loop, and not twice."""

import asyncio
import threading

from app.context.compression import Steps, compress
from app.context.desk import ContextDesk
from app.context.fitting import Strategy, fit
from app.context.tokens import ESTIMATOR, Tokenizer
from tests.context.scripts import long_document

DOCUMENT = long_document(chars=20_000)
BLANKS, REPEATS = Steps(blanks=True), Steps(repeats=True)


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
    assert await desk.compress("a  b", ESTIMATOR, BLANKS) == compress("a  b", ESTIMATOR.count, BLANKS)


async def test_large_texts_are_counted_on_another_thread() -> None:
    spy = Spy()
    await ContextDesk().fit(DOCUMENT, 500, spy.tokenizer)
    assert threading.current_thread() not in spy.threads


async def test_a_small_text_is_counted_at_once_when_the_vocabulary_is_there() -> None:
    spy, desk = Spy(), ContextDesk()
    await desk.count("first", spy.tokenizer)
    await desk.count("second", spy.tokenizer)
    assert [thread is threading.current_thread() for thread in spy.threads] == [False, True]


async def test_the_same_work_is_done_once() -> None:
    spy, desk = Spy(), ContextDesk()
    first = await desk.fit(DOCUMENT, 500, spy.tokenizer)
    times = len(spy.threads)
    assert await desk.fit(DOCUMENT, 500, spy.tokenizer) is first
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
    wide = "a  b  c  d  e  f  g\n" * 1_000
    assert await desk.compress(wide, spy.tokenizer, BLANKS) != await desk.compress(wide, spy.tokenizer, REPEATS)


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
