"""The books of calls that belong to no row of a lane: chats, direct questions.

As for rows, an attempt is committed before its call leaves, and those that wait together share a commit. There is no
fence. What a process that died left open is marked IN_DOUBT when its call cannot be under way any more; a process that
lives settles its attempts, also after the database was away.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, cast

import structlog
from sqlalchemy import CursorResult, delete, insert, update
from sqlalchemy.orm import Session

from app import clock
from app.clock import utc_now
from app.database import Database, new_id
from app.errors import ServiceUnavailable
from app.llm.attempts import UNRECORDED, UNSAID, Attempt, AttemptOutcome, AttemptRecorder, Purpose, Saved
from app.llm.cache import forget_expired
from app.llm.call import Call
from app.llm.ledger.attempt_model import LLMAttempt
from app.llm.ledger.lane_books import over_budget
from app.llm.ledger.statements import purpose_columns, settle
from app.spending import counters
from app.spending.budget import Spender
from app.spending.counters import Refusal, Reservation

log = structlog.get_logger(__name__)
_SWEEP_SECONDS = 60.0
_RETRY_SECONDS = 1.0
# After its deadline a call may still be waiting for its commit, or its settlement for the database.
_MARGIN_SECONDS = 60.0


@dataclass(slots=True)
class _Batch:
    """What goes into the next commit. `done` is for those who open: whom a budget refused; it fails with the commit."""

    openings: list[dict[str, Any]] = field(default_factory=list)
    settled: list[Attempt] = field(default_factory=list)
    done: asyncio.Future[Mapping[str, Refusal]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class DirectBooks:
    """Of a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._next: _Batch | None = None
        self._flushing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def swept(self) -> AsyncIterator[None]:
        """In the block, what others left open is marked, at once and every minute."""
        sweeping = asyncio.create_task(self._sweep_forever())
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)

    async def close(self) -> None:
        """Write what is settled, if the database is there. Safe to repeat."""
        if self._flushing is not None:
            await asyncio.wait({self._flushing}, timeout=_RETRY_SECONDS * 2)

    def recorder_of(self, call: Call) -> AttemptRecorder:
        return DirectRecorder(self, call)

    async def open(self, row: dict[str, Any]) -> None:
        """Returns when it is committed. Raises ServiceUnavailable, LLMBudgetExceeded."""
        batch = self._batch()
        batch.openings.append(row)
        refused = await asyncio.shield(batch.done)
        if row["id"] in refused:
            raise over_budget(refused[row["id"]])

    def note(self, row: dict[str, Any], attempt: Attempt) -> None:
        """An attempt that is over already; it is written with the next commit."""
        batch = self._batch()
        batch.openings.append(row)
        batch.settled.append(attempt)

    def settle(self, attempt: Attempt) -> None:
        """It is written with the next commit, which comes at once."""
        self._batch().settled.append(attempt)

    def _batch(self) -> _Batch:
        if self._next is None:
            self._next = _Batch()
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        return self._next

    async def _flush(self) -> None:
        while self._next is not None:
            batch, self._next = self._next, None
            try:
                refused = await self._database.write(partial(_write, batch=batch))
            except ServiceUnavailable as error:
                if batch.openings:  # their calls do not leave
                    batch.done.set_exception(error)
                    batch.done.exception()  # where nobody waits for it, that is no news
                if batch.settled:  # what was spent must get into the books
                    self._batch().settled[:0] = batch.settled
                    await clock.sleep(_RETRY_SECONDS)
            else:
                batch.done.set_result(refused)

    async def _sweep_forever(self) -> None:
        while True:
            try:
                marked = await self._database.write(doubt_expired)
                await self._database.write(forget_expired)
                if marked:
                    log.warning("llm_books.left_open", attempts=marked)
            except ServiceUnavailable:
                log.warning("llm_books.not_swept")
            await clock.sleep(_SWEEP_SECONDS)


class DirectRecorder:
    """Of one call; its attempts share the row's id, or an id of their own."""

    def __init__(self, books: DirectBooks, call: Call) -> None:
        self._books, self._call = books, call
        self._call_id = call.spender.row_id or new_id()

    async def open(self, *, provider: str, model: str, purpose: Purpose = UNSAID) -> Attempt:
        attempt = Attempt(provider=provider, model=model, purpose=purpose)
        await self._books.open(self._row(attempt))
        return attempt

    def close(self, attempt: Attempt) -> None:
        self._books.settle(attempt)

    async def note_cached(self, *, provider: str, model: str, purpose: Purpose, saved: Saved) -> Attempt:
        """Written soon: nothing is spent, so nobody waits for the commit."""
        attempt = Attempt(provider=provider, model=model, purpose=purpose)
        attempt.settle_as_cached(saved)
        self._books.note(self._row(attempt), attempt)
        return attempt

    def _row(self, attempt: Attempt) -> dict[str, Any]:
        seconds = self._call.deadline_seconds + _MARGIN_SECONDS
        return {
            "id": attempt.id,
            "lane": self._call.spender.lane,
            "item_id": self._call_id,
            "user_id": self._call.spender.user_id,
            "claim_seq": 0,
            "provider": attempt.provider,
            "model": attempt.model,
            "started_at": attempt.started_at,
            "expires_at": attempt.started_at + timedelta(seconds=seconds),
            **purpose_columns(attempt.purpose),
            "reserved_usd": attempt.purpose.most_usd,
        }


class NoBooks:
    """Where there is no database: only what brings a recorder along is on the books."""

    @asynccontextmanager
    async def swept(self) -> AsyncIterator[None]:
        """Nothing to see to."""
        yield

    async def close(self) -> None:
        """Nothing to write."""

    def recorder_of(self, _call: Call) -> AttemptRecorder:
        return UNRECORDED


def doubt_expired(session: Session) -> int:
    """How many attempts were marked: open, though their calls have been over for a while."""
    now = utc_now()
    done = session.execute(
        update(LLMAttempt)
        .where(LLMAttempt.outcome.is_(None), LLMAttempt.expires_at < now)
        .values(outcome=AttemptOutcome.IN_DOUBT, ended_at=now)
        .execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", done).rowcount


def _write(session: Session, batch: _Batch) -> Mapping[str, Refusal]:
    """Those that would have crossed a budget, by id; they are not on the books."""
    refused = _book(session, batch.openings)
    settle(session, batch.settled)
    return refused


def _book(session: Session, openings: Sequence[dict[str, Any]]) -> Mapping[str, Refusal]:
    if not openings:
        return {}
    session.execute(insert(LLMAttempt), openings)
    # After the insertion, which holds the books' table against whoever makes a first budget.
    if not counters.is_counting(session):
        return {}
    refused = counters.reserve(session, [_reservation(row) for row in openings])
    if refused:
        session.execute(delete(LLMAttempt).where(LLMAttempt.id.in_(refused)))
    return refused


def _reservation(row: Mapping[str, Any]) -> Reservation:
    spender = Spender(row["user_id"], row["api_key_id"], row["started_at"])
    return Reservation(row["id"], spender, row["reserved_usd"])
