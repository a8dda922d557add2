"""The retry decision is a pure function: its whole table, and its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import LLMContentRefused, LLMError, LLMRateLimited, LLMTimeout, LLMUnreachable, Remedy, llm_errors
from app.worker.retry import Defer, Fail, RetryPolicy, decide

POLICY = RetryPolicy(max_attempts=3, backoff_seconds=2, backoff_max_seconds=10)


@pytest.mark.parametrize(
    ("error", "attempt", "decision"),
    [
        (LLMContentRefused(), 1, Fail()),
        (LLMUnreachable(), 1, Defer(2, attempt_returned=False)),
        (LLMUnreachable(), 2, Defer(4, attempt_returned=False)),
        (LLMUnreachable(), 3, Fail()),
        (LLMTimeout(), 1, Defer(2, attempt_returned=False)),
        (LLMTimeout(), 2, Fail()),
        (LLMRateLimited(), 2, Defer(4, attempt_returned=False)),
        (LLMRateLimited(retry_after_seconds=33, remedy=Remedy.WAIT), 3, Defer(33, attempt_returned=True)),
        (LLMRateLimited(retry_after_seconds=0, remedy=Remedy.WAIT), 3, Defer(2, attempt_returned=True)),
        (LLMUnreachable(remedy=Remedy.WAIT), 3, Defer(10, attempt_returned=True)),
    ],
)
def test_the_table(error: LLMError, attempt: int, decision: Fail | Defer) -> None:
    assert decide(error, attempt=attempt, policy=POLICY, luck=1) == decision


def test_whoever_closed_the_provider_does_not_go_free() -> None:
    error = LLMRateLimited(retry_after_seconds=33, remedy=Remedy.WAIT)
    error.closed_gate = True
    assert decide(error, attempt=2, policy=POLICY, luck=1) == Defer(33, attempt_returned=False, to_tail=True)
    assert decide(error, attempt=3, policy=POLICY, luck=1) == Fail()


@given(st.sampled_from(sorted(llm_errors())), st.integers(1, 10_000), st.floats(0, 1))
def test_a_backoff_never_passes_its_bound_and_a_row_never_its_attempts(code: str, attempt: int, luck: float) -> None:
    decision = decide(llm_errors()[code](), attempt=attempt, policy=POLICY, luck=luck)
    if isinstance(decision, Defer):
        assert 0 <= decision.delay_seconds <= POLICY.backoff_max_seconds
        assert decision.attempt_returned or attempt < POLICY.max_attempts


@given(st.floats(0, 1))
def test_the_jitter_is_full(luck: float) -> None:
    decision = decide(LLMUnreachable(), attempt=2, policy=POLICY, luck=luck)
    assert isinstance(decision, Defer)
    assert decision.delay_seconds == luck * 4
