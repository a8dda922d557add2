"""The recorders of jobs, and the openings of attempts: each is committed before its call leaves.

The first attempt of a row is booked in the transaction of its claim; later openings that wait together share a
commit. An opening names the fence of its row, so a row that was discarded or reclaimed meanwhile can spend nothing
more. A settlement is written with the next opening, or with the end of its row.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import Database
from app.errors import BudgetSpent, LeaseLost, LLMBudgetExceeded
from app.llm.attempts import NOTHING, UNSAID, Attempt, AttemptOutcome, Purpose, Saved
from app.llm.ledger import statements as ledger
from app.llm.ledger.statements import Account, Booked
from app.spending.counters import Refusal


class JobRecorder:
    """The recorder of one run on one row; `attempts` is what it opened, in order.

    `booked` was put on the books together with the claim: the first opening takes it up when it asks for the same
    model. Nothing left under one that is not taken up: it ends UNUSED.
    """

    def __init__(
        self, books: "Books", account: Account, may_spend: Callable[[], bool], *, booked: Attempt | None = None
    ) -> None:
        self._books, self._account, self._may_spend = books, account, may_spend
        self._unwritten: list[Attempt] = []
        self._booked = booked
        self.attempts: list[Attempt] = []

    async def open(self, *, provider: str, model: str, purpose: Purpose = UNSAID) -> Attempt:
        """See AttemptRecorder. The deadline is asked again at the end: the process may have been stopped meanwhile."""
        if not self._may_spend():
            raise LeaseLost
        booked = self._booked
        if booked is not None and _is_what_was_booked(booked, provider, model, purpose):
            self._booked = None
            self.attempts.append(booked)
            booked.purpose = purpose
            return booked
        attempt = Attempt(provider=provider, model=model, purpose=purpose)
        self.attempts.append(attempt)
        settled, self._unwritten = self._unwritten, []
        await self._books.open(self._account, attempt, settled)
        if not self._may_spend():
            attempt.settle(AttemptOutcome.UNUSED, usage=NOTHING)
            raise LeaseLost
        return attempt

    def close(self, attempt: Attempt) -> None:
        self._unwritten.append(attempt)

    async def note_cached(self, *, provider: str, model: str, purpose: Purpose, saved: Saved) -> Attempt:
        attempt = await self.open(provider=provider, model=model, purpose=purpose)
        attempt.settle_as_cached(saved)
        self.close(attempt)
        return attempt

    def end(self) -> list[Attempt]:
        """The run is over: everything that it has on the books, to be settled with its row."""
        if self._booked is not None:
            self._booked.settle(AttemptOutcome.UNUSED, usage=NOTHING)
            self.attempts.append(self._booked)
            self._booked = None
        return self.attempts


def _is_what_was_booked(booked: Attempt, provider: str, model: str, purpose: Purpose) -> bool:
    """What it may cost is not known before, and is added with the settlement."""
    if booked.purpose is purpose:
        return (booked.provider, booked.model) == (provider, model)
    expected = replace(booked.purpose, most_usd=purpose.most_usd)
    return (booked.provider, booked.model, expected) == (provider, model, purpose)


@dataclass(slots=True)
class _Opening:
    account: Account
    attempt: Attempt
    settled: list[Attempt]
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Books:
    """Opens attempts for all jobs of a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Opening] = []
        self._flushing: asyncio.Task[None] | None = None

    async def open(self, account: Account, attempt: Attempt, settled: list[Attempt]) -> None:
        """Commit the attempt, and the settlements that came before it.

        Raises LeaseLost, LLMBudgetExceeded, ServiceUnavailable; then no call may be made.
        """
        opening = _Opening(account, attempt, settled)
        self._waiting.append(opening)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        await opening.done

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                booked = await self._database.write(partial(_write_openings, batch=batch))
            except Exception as error:  # noqa: BLE001 - each waiter gets it and deals with it
                for opening in batch:
                    if not opening.done.done():
                        opening.done.set_exception(error)
                continue
            for opening in batch:
                if not opening.done.done():
                    _answer(opening, booked)


def _answer(opening: _Opening, booked: Booked) -> None:
    attempt_id = opening.attempt.id
    if attempt_id in booked.refused:
        opening.done.set_exception(over_budget(booked.refused[attempt_id]))
    elif attempt_id not in booked.opened:
        opening.done.set_exception(LeaseLost())
    else:
        opening.done.set_result(None)


def over_budget(refusal: Refusal) -> LLMBudgetExceeded:
    if refusal.most_usd is None:
        return LLMBudgetExceeded(is_unpriced=True)
    spent = BudgetSpent(refusal.budget.limit_usd, refusal.spent_usd, refusal.resets_at)
    seconds = (refusal.resets_at - utc_now()).total_seconds()
    return LLMBudgetExceeded(spent, retry_after_seconds=max(0.0, seconds))


def _write_openings(session: Session, batch: Sequence[_Opening]) -> Booked:
    ledger.settle(session, [attempt for opening in batch for attempt in opening.settled])
    return ledger.book(session, [(opening.account, opening.attempt) for opening in batch])
