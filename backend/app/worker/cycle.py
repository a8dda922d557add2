"""One transaction of the worker: end what has ended, then claim what may be claimed.

Many rows share a commit and none shares a fate: each has its own fence, and a result that the database will not take
fails its own row alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.database import blames_statement
from app.errors import LLMApiError
from app.llm import books
from app.llm.attempts import Attempt
from app.worker import lease
from app.worker.lane import Ended, Lane, Work


@dataclass(frozen=True, slots=True)
class Settled:
    """The row gets these result columns, among them `status`."""

    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The row goes back to the queue, at once or after a delay."""

    delay_seconds: float | None
    attempt_returned: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    """The row is no longer ours: only the books are written."""


Outcome = Settled | GivenBack | Dropped


@dataclass(frozen=True, slots=True)
class Ending:
    """How the work on one row ended, and the upstream calls that it took."""

    work: Work
    outcome: Outcome
    attempts: Sequence[Attempt] = ()


@dataclass(frozen=True, slots=True)
class Cycle:
    """What came of one transaction. `late` rows had been lost meanwhile: their results were dropped."""

    claimed: list[Work] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    late: list[Work] = field(default_factory=list)
    reclaimed: int = 0
    due_in_seconds: float | None = None


def run_cycle(
    session: Session, lane: Lane, endings: Sequence[Ending], *, owner: str, lease_seconds: float, want: int
) -> Cycle:
    """End, reclaim and claim, in the caller's transaction; safe to run again when that failed."""
    ended, late = _end(session, lane, endings)
    claimed: list[Work] = []
    lost = lease.Reclaimed([], [])
    due: float | None = None
    if want:
        lost = take_back(session, lane)
        lease.promote_due(session, lane.work_table)
        claimed = lease.claim(session, lane.work_table, owner=owner, lease_seconds=lease_seconds, limit=want)
        if len(claimed) < want:
            due = lease.seconds_until_due(session, lane.work_table)
    return Cycle(claimed, ended + lost.poisoned, late, len(lost.ids), due)


def take_back(session: Session, lane: Lane, *, everything: bool = False) -> lease.Reclaimed:
    """Reclaim rows whose worker died; what it had under way upstream is in doubt from now on."""
    lost = lease.reclaim(session, lane.work_table, everything=everything)
    books.doubt(session, lost.ids)
    if lost.poisoned:
        lane.record_ended(session, lost.poisoned)
    return lost


def _end(session: Session, lane: Lane, endings: Sequence[Ending]) -> tuple[list[Ended], list[Work]]:
    if not endings:
        return [], []
    settled = [ending for ending in endings if isinstance(ending.outcome, Settled)]
    ended = _finish(session, lane, settled)
    written = {row.id for row in ended}
    late = [ending.work for ending in settled if ending.work.id not in written]
    for ending in endings:
        if isinstance(ending.outcome, GivenBack):
            lease.give_back(
                session,
                lane.work_table,
                ending.work,
                delay_seconds=ending.outcome.delay_seconds,
                attempt_returned=ending.outcome.attempt_returned,
            )
    books.settle(session, [attempt for ending in endings for attempt in ending.attempts])
    if ended:
        lane.record_ended(session, ended)
    return ended, late


def _finish(session: Session, lane: Lane, settled: Sequence[Ending]) -> list[Ended]:
    """The batch in one statement; when the database refuses it, row by row, so that the bad one alone fails."""
    rows = [_row(lane, ending.work, ending.outcome) for ending in settled]
    try:
        with session.begin_nested():
            return lease.finish(session, lane.work_table, rows)
    except DBAPIError as error:
        if not blames_statement(error):
            raise
        return [row for ending in settled for row in _finish_alone(session, lane, ending)]


def _finish_alone(session: Session, lane: Lane, ending: Ending) -> list[Ended]:
    for columns in (_row(lane, ending.work, ending.outcome), _failed_row(lane, ending.work)):
        try:
            with session.begin_nested():
                return lease.finish(session, lane.work_table, [columns])
        except DBAPIError as error:
            if not blames_statement(error):
                raise
    return []


def _row(lane: Lane, work: Work, outcome: object) -> dict[str, Any]:
    assert isinstance(outcome, Settled)  # noqa: S101 - the callers chose them so
    blank = dict.fromkeys(lane.work_table.results)
    return {**blank, **outcome.columns, "id": work.id, "claim_seq": work.claim_seq}


def _failed_row(lane: Lane, work: Work) -> dict[str, Any]:
    return _row(lane, work, Settled(lane.failure(LLMApiError())))
