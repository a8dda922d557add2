"""One call on its way over the models of its plan, until one answers or none is left, within one deadline.

What follows from a fault is decided in `policy.py`; here it is done. The same for every kind of answer: what is sent
is handed in. Invariant: no model that was silent is asked again, and nothing is sent after the deadline.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app import clock
from app.errors import LLMError, LLMTimeout
from app.llm.policy import Course, Situation, decide, is_silence, most_hopeful
from app.llm.routing import Candidate, Plan
from app.llm.traffic.doors import Doors, Leave

T = TypeVar("T")
# With less than this left a call would only cost money.
_SHORTEST_TRY_SECONDS = 0.05
# Until somebody else's probe has told how things stand.
_PROBE_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 20.0
# A model that was given less time than this and had said nothing is not to blame.
_FAIR_SECONDS = 5.0
_LONGEST_REASON = 200


@dataclass(slots=True)
class Try:
    """One sending. `share_seconds` leaves time for the models after it, `left_seconds` does not.

    Whoever sends sets `has_begun` when an answer begins to come.
    """

    candidate: Candidate
    reason: str
    left_seconds: float
    share_seconds: float
    has_begun: bool = False


Send = Callable[[Try], Awaitable[T]]


@dataclass(slots=True)
class Pursuit(Generic[T]):
    """Of one call; used once."""

    plan: Plan
    doors: Doors
    send: Send[T]
    deadline: float
    is_queued: bool
    _left: list[Candidate] = field(init=False)
    _faults: list[LLMError] = field(default_factory=list)
    _at_fault: set[str] = field(default_factory=set)
    _tries: Counter[str] = field(default_factory=Counter)
    _why: str = ""
    _again: str = ""

    def __post_init__(self) -> None:
        self._left = list(self.plan.candidates)

    async def run(self) -> tuple[Candidate, T]:
        """The answer and who gave it. Raises the fault of the whole plan."""
        while (candidate := await self._next()) is not None:
            leave = await self.doors.enter(candidate.name)
            if leave is None:
                continue
            attempt = self._try(candidate)
            outcome = await self._send(attempt, leave)
            if not isinstance(outcome, LLMError):
                return candidate, outcome
            await self._react(attempt, outcome)
        raise most_hopeful(self._faults) if self._faults else self.plan.fault()

    async def _next(self) -> Candidate | None:
        """The first model that may be asked; waits for one where that is allowed and worth it."""
        while self._left:
            if self._seconds_left() < _SHORTEST_TRY_SECONDS:
                self._faults.append(LLMTimeout())
                return None
            opened = self._open()
            if opened:
                return opened[0]
            wait = max(_PROBE_SECONDS, min(self.doors.seconds_until_open(entry.name) for entry in self._left))
            if self.is_queued or wait > min(_LONGEST_WAIT_SECONDS, self._seconds_left()):
                # What this call closed itself it is to be told why, not to wait for.
                closed = [entry for entry in self._left if entry.provider.name not in self._at_fault]
                self._faults += [self.doors.fault_of(entry.name) for entry in closed]
                return None
            await clock.sleep(wait)
        return None

    def _open(self) -> list[Candidate]:
        return [candidate for candidate in self._left if self.doors.allowance(candidate.name) > 0]

    def _try(self, candidate: Candidate) -> Try:
        self._tries[candidate.name] += 1
        first = self._left[0]
        reason = self._why if self._why and self._again in ("", candidate.name) else candidate.reason
        if first is not candidate:
            reason = f"{reason}; {first.name} is closed"
        left = self._seconds_left()
        share = left / max(1, len(self._open()))
        longest = self.plan.rules.try_seconds or share
        return Try(candidate, reason[:_LONGEST_REASON], left, min(share, longest))

    async def _send(self, attempt: Try, leave: Leave) -> T | LLMError:
        started = clock.local_seconds()
        try:
            answer = await self.send(attempt)
        except LLMError as fault:
            self.doors.report_fault(leave, fault, counts=self._counts(attempt, started, fault))
            return fault
        else:
            self.doors.report_success(leave)
            return answer
        finally:
            self.doors.release(leave)  # also of a cancelled call; without effect where a verdict was reported

    def _counts(self, attempt: Try, started: float, fault: LLMError) -> bool:
        """A silence that only the caller's own deadline ended is no fault of the model."""
        if not is_silence(fault) or self._seconds_left() > _SHORTEST_TRY_SECONDS:
            return True
        return not attempt.has_begun and clock.local_seconds() - started >= _FAIR_SECONDS

    async def _react(self, attempt: Try, fault: LLMError) -> None:
        candidate = attempt.candidate
        others = len([entry for entry in self._open() if entry is not candidate])
        now = Situation(
            self._tries[candidate.name],
            self._seconds_left() / (1 + others),
            self.is_queued,
            luck=random.random(),  # noqa: S311 - spreads those who wait
        )
        step = decide(fault, now)
        if step.course is Course.RETURN:
            raise fault
        self._faults.append(fault)
        self._at_fault.add(candidate.provider.name)
        if step.course is Course.AGAIN:
            self._why, self._again = f"try {now.tries + 1} after {fault.code}", candidate.name
            await clock.sleep(step.delay_seconds)
            return
        self._why, self._again = f"after {fault.code} of {candidate.name}", ""
        self._left = [entry for entry in self._left if self._remains(entry, candidate, step.course)]

    def _remains(self, entry: Candidate, asked: Candidate, course: Course) -> bool:
        """Whether this model may still be asked after `asked` failed."""
        if entry is asked:
            return False
        window, other = asked.facts.context_window, entry.facts.context_window
        is_known = window is not None and other is not None
        return course is not Course.LARGER or not is_known or (other or 0) > (window or 0)

    def _seconds_left(self) -> float:
        return self.deadline - clock.local_seconds()
