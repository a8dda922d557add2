"""What follows from a fault: pure decisions, read as a table.

| fault | a call that somebody waits for | a row that has a queue to wait in |
|---|---|---|
| rate limit | wait as it asks, or a backoff, while the deadline allows; then the next model | the next model |
| 5xx, reset, cut off on the way | once more, then the next model | the next model |
| silence: no answer, no first token, a stall | the next model, this one never again | the same |
| the answer has the wrong form | the next model | the same |
| too long for the model | a model with a larger window | the same |
| key refused | the next model; its provider is closed | the same |
| no such model | the next model | the same |
| a budget is spent; content refused, any other 4xx | it is the answer: no other model is asked | the same |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.errors import (
    LLMApiError,
    LLMAuthRefused,
    LLMBadRequest,
    LLMBudgetExceeded,
    LLMContentRefused,
    LLMContextTooLong,
    LLMError,
    LLMRateLimited,
    LLMTimeout,
    LLMUnreachable,
    Remedy,
)

_LONGEST_RETRY_AFTER_SECONDS = 20.0
_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS = 0.5, 8.0
_ONCE_MORE_SECONDS = 0.2
_LIMITED_TRIES, _BROKEN_TRIES = 4, 2


class Course(StrEnum):
    """Where the call goes: AGAIN to this model, to the NEXT one, to a LARGER one, or nowhere."""

    AGAIN = "again"
    NEXT = "next"
    LARGER = "larger"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Step:
    """`delay_seconds` passes before AGAIN."""

    course: Course
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Situation:
    """`tries` on this model so far, this one included; `luck`, 0 to 1, spreads those who wait."""

    tries: int
    left_seconds: float
    is_queued: bool
    luck: float


def decide(fault: LLMError, now: Situation) -> Step:
    """The step after `fault`."""
    if isinstance(fault, LLMContextTooLong):
        return Step(Course.LARGER)
    if _is_the_answer(fault):
        return Step(Course.RETURN)
    delay = None if now.is_queued else _delay_before_again(fault, now)
    if delay is None or delay >= now.left_seconds:
        return Step(Course.NEXT)
    return Step(Course.AGAIN, delay)


def is_silence(fault: LLMError) -> bool:
    """Whether the model said nothing in time: it is not asked again in the same call."""
    return isinstance(fault, LLMTimeout)


def blames_model(fault: LLMError) -> bool:
    """Whether the fault counts against the model, for its circuit."""
    return isinstance(fault, LLMTimeout | LLMUnreachable)


def is_inconclusive(fault: LLMError) -> bool:
    """Whether the fault says nothing of whether the model works: it was not asked in earnest."""
    return isinstance(fault, LLMRateLimited | LLMAuthRefused | LLMBadRequest | LLMBudgetExceeded) or (
        type(fault) is LLMApiError and fault.http_status is None
    )


def most_hopeful(faults: Sequence[LLMError]) -> LLMError:
    """The fault of the whole plan: a transient one if there is any, else the shortest wait, else the first.

    A transient one goes before a wait because it uses up an attempt: a plan with a dead model and a closed
    one would else be asked for ever. For the same reason a wait beside a permanent fault becomes a retry.
    """
    for fault in faults:
        if fault.remedy is Remedy.RETRY:
            return fault
    waits = [fault for fault in faults if fault.remedy is Remedy.WAIT]
    if not waits:
        return faults[0]
    shortest = min(waits, key=lambda fault: fault.retry_after_seconds or 0.0)
    if len(waits) < len(faults):
        shortest.remedy = Remedy.RETRY
    return shortest


def _is_the_answer(fault: LLMError) -> bool:
    """Another model would say the same, or may not be asked."""
    if isinstance(fault, LLMContentRefused | LLMBadRequest | LLMBudgetExceeded):
        return True
    return type(fault) is LLMApiError and fault.http_status is not None


def _delay_before_again(fault: LLMError, now: Situation) -> float | None:
    """None: not again."""
    if isinstance(fault, LLMRateLimited) and now.tries < _LIMITED_TRIES:
        return _wait(fault, now)
    if isinstance(fault, LLMUnreachable) and now.tries < _BROKEN_TRIES:
        named = fault.retry_after_seconds
        return now.luck * _ONCE_MORE_SECONDS if named is None else _wait(fault, now)
    return None


def _wait(fault: LLMError, now: Situation) -> float | None:
    """As long as was asked for, and a little more so that not all come back at once; None when that is too long."""
    named = fault.retry_after_seconds
    if named is None:
        ceiling = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2.0 ** (now.tries - 1))
        return ceiling * (0.5 + now.luck / 2)
    return named + now.luck * _ONCE_MORE_SECONDS if named <= _LONGEST_RETRY_AFTER_SECONDS else None
