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
from app.llm.attempts import Attempt
from app.llm.ledger import statements as ledger
from app.worker import lease
from app.worker.lane import Ended, Lane, Work


@dataclass(frozen=True, slots=True)
class Settled:
    """The row gets these result columns, among them `status`."""

    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The row goes back to the queue, at once or after a delay; `to_tail` behind all that wait.

    `code` is of the error that it waits for.
    """

    delay_seconds: float | None
    attempt_returned: bool
    to_tail: bool = False
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """The row is no longer ours: only the books are written."""


Outcome = Settled | GivenBack | Dropped


@dataclass(frozen=True, slots=True)
class Ending:
    """How the work on one row ended, the upstream calls that it took, and a booked one that it did not."""

    work: Work
    outcome: Outcome
    attempts: Sequence[Attempt] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a transaction is to do: end these, and claim up to `want` rows.

    `sweep`: first take back and promote what has become due. `one_by_one`: the database refused the batch.
    """

    owner: str
    lease_seconds: float
    endings: Sequence[Ending] = ()
    want: int = 0
    sweep: bool = True
    one_by_one: bool = False


@dataclass(frozen=True, slots=True)
class Cycle:
    """What came of one transaction.

    `booked` holds the first attempt of a claimed row, by its id. `late` rows had been lost meanwhile: their results
    were dropped.
    """

    claimed: list[Work] = field(default_factory=list)
    booked: Mapping[str, Attempt] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    late: list[Work] = field(default_factory=list)
    reclaimed: int = 0
    due_in_seconds: float | None = None


def run_cycle(session: Session, lane: Lane, plan: Plan) -> Cycle:
    """End, reclaim and claim, in the caller's transaction; safe to run again when that failed."""
    ended, late = _end(session, lane, plan)
    claimed: list[Work] = []
    booked: Mapping[str, Attempt] = {}
    lost = lease.Reclaimed([], [])
    due: float | None = None
    if plan.want:
        table = lane.work_table
        if plan.sweep:
            lost = take_back(session, lane)
            lease.promote_due(session, table)
            ledger.doubt_orphans(session, table.table.name)
        claimed = lease.claim(session, table, owner=plan.owner, lease_seconds=plan.lease_seconds, limit=plan.want)
        booked = _book(session, lane, claimed)
        if len(claimed) < plan.want:
            due = lease.seconds_until_due(session, table)
    return Cycle(claimed, booked, ended + lost.poisoned, late, len(lost.ids), due)


def account_of(lane: Lane, work: Work) -> ledger.Account:
    table = lane.work_table
    return ledger.Account(lane.name, table.table.name, table.working, work.id, work.user_id, work.claim_seq)


def _book(session: Session, lane: Lane, claimed: Sequence[Work]) -> Mapping[str, Attempt]:
    """The first attempt of each row shares the commit of its claim: a call waits for one commit, not for two."""
    first = lane.first_call()
    plain = [work for work in claimed if lane.work_table.is_plain(work.payload)]
    if first is None or not plain:
        return {}
    return ledger.book_ahead(session, first, [account_of(lane, work) for work in plain])


def take_back(session: Session, lane: Lane, *, everything: bool = False) -> lease.Reclaimed:
    """Reclaim rows whose worker died; what it had under way upstream is in doubt from now on."""
    lost = lease.reclaim(session, lane.work_table, everything=everything)
    ledger.doubt(session, lost.ids)
    if lost.poisoned:
        lane.record_ended(session, lost.poisoned)
    return lost


def _end(session: Session, lane: Lane, plan: Plan) -> tuple[list[Ended], list[Work]]:
    endings = plan.endings
    if not endings:
        return [], []
    settled = [ending for ending in endings if isinstance(ending.outcome, Settled)]
    ended = _finish(session, lane, settled, one_by_one=plan.one_by_one)
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
                to_tail=ending.outcome.to_tail,
                wait_code=ending.outcome.code,
            )
    ledger.settle(session, [attempt for ending in endings for attempt in ending.attempts])
    if ended:
        lane.record_ended(session, ended)
    return ended, late


def _finish(session: Session, lane: Lane, settled: Sequence[Ending], *, one_by_one: bool) -> list[Ended]:
    """All together or, when the database refused that, row by row, so that the bad one alone fails."""
    if one_by_one:
        return [row for ending in settled for row in _finish_alone(session, lane, ending)]
    rows = [_row(lane, ending.work, ending.outcome) for ending in settled]
    if rows and session.get_bind().dialect.name == "sqlite":
        with session.begin_nested() as attempt:
            if lease.finish_all(session, lane.work_table, rows):
                whose = [ending.work.user_id for ending in settled]
                return [Ended(row["id"], user, row["status"]) for row, user in zip(rows, whose, strict=True)]
            attempt.rollback()
    return lease.finish(session, lane.work_table, rows)


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
    source = {name: work.payload[name] for name in lane.work_table.source}
    return {**blank, **source, **outcome.columns, "id": work.id, "claim_seq": work.claim_seq}


def _failed_row(lane: Lane, work: Work) -> dict[str, Any]:
    return _row(lane, work, Settled(lane.failure(LLMApiError())))
