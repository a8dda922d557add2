"""Which fault a call ends in when every model of its plan has failed."""

from app.errors import LLMApiError, LLMModelNotFound, LLMRateLimited, LLMUnreachable, Remedy
from app.llm.policy import most_hopeful


def waiting(seconds: float | None) -> LLMRateLimited:
    return LLMRateLimited(retry_after_seconds=seconds, remedy=Remedy.WAIT)


def test_a_fault_that_may_pass_goes_before_every_other() -> None:
    passing = LLMUnreachable()
    assert most_hopeful([LLMApiError(), waiting(1), passing]) is passing


def test_of_waits_alone_the_shortest_is_told_and_stays_a_wait() -> None:
    shortest = waiting(2)
    assert most_hopeful([waiting(9), shortest, waiting(5)]) is shortest
    assert shortest.remedy is Remedy.WAIT


def test_a_wait_beside_a_permanent_fault_uses_up_an_attempt() -> None:
    wait = waiting(2)
    assert most_hopeful([LLMApiError(), wait]) is wait
    assert wait.remedy is Remedy.RETRY


def test_of_permanent_faults_the_first_is_told() -> None:
    first = LLMModelNotFound(http_status=404)
    assert most_hopeful([first, LLMApiError()]) is first
