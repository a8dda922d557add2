"""The failure policy, line by line: what the upstream saw, how often and at what distance."""

import time

import pytest

from app.errors import (
    LLMApiError,
    LLMAuthRefused,
    LLMContentRefused,
    LLMContextTooLong,
    LLMError,
    LLMInvalidAnswer,
    LLMModelNotFound,
    LLMRateLimited,
    LLMTimeout,
    LLMUnreachable,
)
from app.llm.call import Completion
from app.llm.traffic.breaker import CircuitState
from tests.llm.gateway_calls import SECOND, SPARE, chat, door
from tests.llm.recorder import MODEL, billed
from tests.protocol_server.server import ProtocolServer

FIRST, OTHER = "gpt-4o-mini", "gpt-4o"


@pytest.mark.parametrize(
    ("faults", "asked"),
    [
        # A rate limit is waited out, then the next model; a break is tried once more, then the next model.
        (["429"], [FIRST, FIRST]),
        (["429_retry_after=1"], [FIRST, FIRST]),
        (["429"] * 4, [FIRST] * 4 + [OTHER]),
        (["429_retry_after=60"], [FIRST, OTHER]),
        (["429_quota"], [FIRST, OTHER]),
        (["500"], [FIRST, FIRST]),
        (["503", "503"], [FIRST, FIRST, OTHER]),
        (["reset"], [FIRST, FIRST]),
        (["reset_body", "reset"], [FIRST, FIRST, OTHER]),
        (["html", "html"], [FIRST, FIRST, OTHER]),
        (["invalid_json", "invalid_json"], [FIRST, FIRST, OTHER]),
        # Silence, a refused key, no such model, an answer that is none: the next model at once.
        (["hang_headers"], [FIRST, OTHER]),
        (["hang_body"], [FIRST, OTHER]),
        (["401"], [FIRST, OTHER]),
        (["404"], [FIRST, OTHER]),
        (["huge=9"], [FIRST, OTHER]),
        (["empty"], [FIRST, OTHER]),
    ],
    ids="+".join,
)
async def test_what_one_model_cannot_another_try_or_model_does(
    faults: list[str], asked: list[str], upstream: ProtocolServer
) -> None:
    async with door(upstream, SPARE, rules={"try_seconds": 1}) as gateway:
        upstream.script(*faults, model=FIRST)
        answer = await gateway.complete(chat(deadline_seconds=20))
        assert isinstance(answer, Completion), answer
        assert gateway.asked == asked
        models = [{FIRST: MODEL, OTHER: SPARE}[name] for name in asked]
        assert [attempt.model for attempt in gateway.recorder.closed] == models
        assert [note.model for note in answer.receipt.attempts] == models
        assert answer.receipt.model == models[-1]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("400", LLMApiError),
        ("400_policy", LLMContentRefused),
        ("content_filter", LLMContentRefused),
        ("refusal", LLMContentRefused),
    ],
)
async def test_what_every_model_would_say_is_returned(
    fault: str, kind: type[LLMError], upstream: ProtocolServer
) -> None:
    async with door(upstream, SPARE) as gateway:
        upstream.script(fault)
        assert type(await gateway.complete()) is kind
        assert gateway.asked == [FIRST]


@pytest.mark.parametrize(
    ("fault", "kind", "calls"),
    [
        ("429", LLMRateLimited, 4),
        ("500", LLMUnreachable, 2),
        ("reset", LLMUnreachable, 2),
        ("hang_headers", LLMTimeout, 1),
        ("401", LLMAuthRefused, 1),
        ("404", LLMModelNotFound, 1),
        ("empty", LLMInvalidAnswer, 1),
        ("400_context", LLMContextTooLong, 1),
    ],
)
async def test_without_another_model_the_fault_is_told(
    fault: str, kind: type[LLMError], calls: int, upstream: ProtocolServer
) -> None:
    async with door(upstream, rules={"try_seconds": 0.5}) as gateway:
        upstream.set_default(fault)
        assert type(await gateway.complete(chat(deadline_seconds=20))) is kind
        assert len(gateway.asked) == calls


async def test_a_rate_limit_is_left_alone_as_long_as_it_asks(upstream: ProtocolServer) -> None:
    async with door(upstream) as gateway:
        upstream.script("429_retry_after=1")
        assert isinstance(await gateway.complete(), Completion)
        assert 1 <= gateway.gaps[0] < 1.5


async def test_without_a_time_the_pauses_grow(upstream: ProtocolServer) -> None:
    async with door(upstream) as gateway:
        upstream.script("429", "429", "429")
        assert isinstance(await gateway.complete(), Completion)
        first, second, third = gateway.gaps
        assert 0.25 <= first <= 0.6 and 0.5 <= second <= 1.1 and 1 <= third <= 2.1


async def test_an_overloaded_server_may_name_its_time_as_well(upstream: ProtocolServer) -> None:
    async with door(upstream) as gateway:
        upstream.script("503_retry_after=1")
        assert isinstance(await gateway.complete(), Completion)
        assert 1 <= gateway.gaps[0] < 1.5


async def test_after_a_break_it_is_tried_again_at_once(upstream: ProtocolServer) -> None:
    async with door(upstream) as gateway:
        upstream.script("reset")
        assert isinstance(await gateway.complete(), Completion)
        assert gateway.gaps[0] < 0.4


async def test_a_row_with_a_queue_of_its_own_waits_for_nothing_here(upstream: ProtocolServer) -> None:
    async with door(upstream, SPARE) as gateway:
        upstream.script("503", model=FIRST)
        assert isinstance(await gateway.complete(chat(is_queued=True)), Completion)
        assert gateway.asked == [FIRST, OTHER]


@pytest.mark.parametrize("fault", ["429", "500", "hang_headers", "latency=0.3+500", "slow_body=9"])
async def test_one_deadline_holds_over_all_of_it(fault: str, upstream: ProtocolServer) -> None:
    async with door(upstream, SECOND, SPARE) as gateway:
        await gateway.complete()
        upstream.set_default(fault)
        started = time.monotonic()
        assert isinstance(await gateway.complete(chat(deadline_seconds=1)), LLMError)
        assert time.monotonic() - started < 1.5


async def test_while_a_circuit_is_open_the_next_model_is_asked_at_once(upstream: ProtocolServer) -> None:
    async with door(upstream, SPARE) as gateway:
        upstream.script(*["500"] * 6, model=FIRST)
        for _ in range(3):
            await gateway.complete()
        assert gateway.gateway.breaker.state(MODEL) is CircuitState.OPEN
        before = len(gateway.asked)
        answer = await gateway.complete()
        assert isinstance(answer, Completion)
        assert gateway.asked[before:] == [OTHER]
        assert answer.receipt.attempts[0].reason == f"fallback; {MODEL} is closed"


async def test_a_circuit_that_opened_before_another_try_is_why_the_next_model_was_asked(
    upstream: ProtocolServer,
) -> None:
    async with door(upstream, SPARE) as gateway:
        upstream.script(*["500"] * 5, model=FIRST)
        answers = [await gateway.complete() for _ in range(3)]
        last = answers[-1]
        assert isinstance(last, Completion) and gateway.asked[-2:] == [FIRST, OTHER]
        assert last.receipt.attempts[1].reason == f"fallback; {MODEL} is closed"


async def test_who_has_no_other_model_waits_for_the_circuit_and_is_served(upstream: ProtocolServer) -> None:
    async with door(upstream) as gateway:
        upstream.script(*["500"] * 5)
        outcomes = [await gateway.complete() for _ in range(3)]
        assert isinstance(outcomes[-1], Completion)
        assert gateway.gaps[-1] > 0.9


async def test_the_answer_tells_each_attempt_and_its_reason(upstream: ProtocolServer) -> None:
    async with door(upstream, SPARE) as gateway:
        upstream.script("500", "reset", model=FIRST)
        answer = await gateway.complete()
        assert isinstance(answer, Completion)
        assert [note.reason for note in answer.receipt.attempts] == [
            "listed first for standard work",
            "try 2 after LLM_API_ERROR",
            f"after LLM_API_ERROR of {MODEL}",
        ]
        assert [note.error_code for note in answer.receipt.attempts] == ["LLM_API_ERROR", "LLM_API_ERROR", None]


async def test_the_books_hold_what_the_upstream_billed(upstream: ProtocolServer) -> None:
    async with door(upstream) as gateway:
        answer = await gateway.complete()
        assert isinstance(answer, Completion)
        assert gateway.recorder.tokens == billed(upstream.calls)
        assert answer.receipt.usage == gateway.recorder.attempts[0].usage
        assert answer.receipt.cost_usd == answer.receipt.usage.cost_usd is not None
