"""What becomes of a row whose work failed: a pure decision."""

from dataclasses import dataclass

from app.errors import LLMError, Remedy


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`max_attempts` counts the first; backoff in seconds."""

    max_attempts: int = 5
    backoff_seconds: float = 1
    backoff_max_seconds: float = 60


@dataclass(frozen=True, slots=True)
class Fail:
    """Give up: again would give the same, or the attempts are used up."""


@dataclass(frozen=True, slots=True)
class Defer:
    """Try again after `delay_seconds`; `attempt_returned` when the fault was not this row's.

    `to_tail`: behind all others, who must not wait again for what this row may bring about itself.
    """

    delay_seconds: float
    attempt_returned: bool
    to_tail: bool = False


def decide(error: LLMError, *, attempt: int, policy: RetryPolicy, luck: float) -> Fail | Defer:
    """The end of attempt number `attempt`. `luck`, 0 to 1, places the retry within its backoff (full jitter)."""
    if error.remedy is Remedy.WAIT:
        named = error.retry_after_seconds
        # Never at once, even where "0 seconds" was named: nothing else bounds the calls of a row whose attempts return.
        delay = policy.backoff_max_seconds if named is None else max(named, policy.backoff_seconds)
        if not error.closed_gate:
            return Defer(delay, attempt_returned=True)
        # Whoever closed the gate may be why it closes, as a text that is too large for the limit: it does not go free.
        return Fail() if attempt >= policy.max_attempts else Defer(delay, attempt_returned=False, to_tail=True)
    limit = min(policy.max_attempts, error.max_attempts or policy.max_attempts)
    if error.remedy is Remedy.FAIL or attempt >= limit:
        return Fail()
    ceiling = min(policy.backoff_max_seconds, policy.backoff_seconds * 2.0 ** min(attempt - 1, 30))
    return Defer(luck * ceiling, attempt_returned=False)
