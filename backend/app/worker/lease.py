"""Every transition that the worker makes of a row: claim, beat, finish, give back, promote, reclaim.

The fence is in each of them: a row is written only under the `claim_seq` that its writer holds, so a late write
finds no row. All run in the caller's transaction; their SQL is in `statements`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import sqlite_time
from app.json_rows import encode_rows, sqlite_value
from app.worker.lane import Ended, Work, WorkTable
from app.worker.statements import MAX_DEATHS, statements_of

__all__ = [
    "MAX_DEATHS",
    "Outlook",
    "Reclaimed",
    "beat",
    "claim",
    "finish",
    "finish_all",
    "give_back",
    "look",
    "promote_due",
    "reclaim",
    "seconds_until_due",
]


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """Rows whose worker died: those that can be claimed again and those that died once too often."""

    ids: list[str]
    poisoned: list[Ended]


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether there is something to claim or to sweep, and else when there will be, as `seconds_until_due` says."""

    is_due: bool
    due_in_seconds: float | None


def claim(session: Session, work: WorkTable, *, owner: str, lease_seconds: float, limit: int) -> list[Work]:
    """Lease up to `limit` ready rows to `owner`, in the order of their rank."""
    sql = statements_of(session, work)
    rows = session.execute(sql.claim, {"owner": owner, "limit": limit, **sql.later(lease_seconds)}).all()
    return [
        Work(row_id, user_id, claim_seq, attempt, dict(zip(work.payload, payload, strict=True)))
        for row_id, user_id, claim_seq, attempt, _rank, *payload in sorted(rows, key=lambda row: (row[4], row[0]))
    ]


def promote_due(session: Session, work: WorkTable) -> None:
    """Make deferred rows ready whose time has come."""
    sql = statements_of(session, work)
    session.execute(sql.promote, sql.now())


def reclaim(session: Session, work: WorkTable, *, everything: bool = False) -> Reclaimed:
    """Take back rows whose lease ran out, or every leased row when their one worker is known to be dead.

    A row that was lost MAX_DEATHS times fails without another call: it may be what kills the worker.
    """
    sql = statements_of(session, work)
    rows = session.execute(sql.reclaim_all if everything else sql.reclaim_expired, sql.now()).all()
    dead = [Ended(row.id, row.user_id, row.status) for row in rows if row.status == work.failed]
    return Reclaimed([row.id for row in rows], dead)


def beat(
    session: Session, work: WorkTable, held: Sequence[tuple[str, int]], *, lease_seconds: float
) -> set[tuple[str, int]]:
    """Extend the leases on these `(id, claim_seq)`; those missing in the answer are lost or discarded."""
    sql = statements_of(session, work)
    rows = encode_rows([{"id": row_id, "claim_seq": seq} for row_id, seq in held])
    kept = session.execute(sql.beat, {"rows": rows, **sql.later(lease_seconds)})
    return {(row_id, seq) for row_id, seq in kept}


def finish(session: Session, work: WorkTable, results: Sequence[Mapping[str, Any]]) -> list[Ended]:
    """Write these results, each `{id, claim_seq, status, …}`, where the fence still stands; returns the rows written.

    This is the re-check under the row's lock: PostgreSQL evaluates the condition again after waiting for the row,
    and on SQLite writers are serial.
    """
    if not results:
        return []
    sql = statements_of(session, work)
    rows = session.execute(sql.finish, {"rows": encode_rows(results), **sql.now()})
    return [Ended(*row) for row in rows]


def finish_all(session: Session, work: WorkTable, results: Sequence[Mapping[str, Any]]) -> bool:
    """As `finish`, where every fence still stands; false when one does not, and then the caller must undo it.

    For SQLite, where a statement for each row costs a third of one that takes the rows from JSON, but cannot tell
    which of them it found.
    """
    sql = statements_of(session, work)
    now = sqlite_time(utc_now())
    kinds = work.results.items()
    rows = [
        (
            row["status"],
            *(sqlite_value(row[name], kind) for name, kind in kinds),
            now,
            row["id"],
            row["claim_seq"],
            *(row[name] for name in work.source),
        )
        for row in results
    ]
    return session.connection().exec_driver_sql(sql.finish_each, rows).rowcount == len(rows)


def give_back(
    session: Session,
    work: WorkTable,
    held: Work,
    *,
    delay_seconds: float | None,
    attempt_returned: bool,
    to_tail: bool = False,
    wait_code: str | None = None,
) -> bool:
    """Defer the row by `delay_seconds`, or release it at once; false when it was no longer ours."""
    sql = statements_of(session, work)
    fence = {
        "id": held.id,
        "claim_seq": held.claim_seq,
        "attempts_returned": int(attempt_returned),
        "to_tail": int(to_tail),
        "wait_code": wait_code,
    }
    return session.execute(sql.give_back, {**fence, **sql.later(delay_seconds)}).first() is not None


def look(session: Session, work: WorkTable) -> Outlook:
    """Whether a cycle would find anything to do: one statement that writes nothing, for a worker that idles."""
    sql = statements_of(session, work)
    is_ready, has_orphans, *waits = session.execute(sql.outlook, sql.now()).one()
    due = _soonest(waits)
    return Outlook(bool(is_ready or has_orphans or due == 0), due)


def seconds_until_due(session: Session, work: WorkTable) -> float | None:
    """How long until the next deferred row is due or the next lease runs out; null when there is none of either."""
    sql = statements_of(session, work)
    return _soonest(session.execute(sql.seconds_until_due, sql.now()).one())


def _soonest(waits: Iterable[float | None]) -> float | None:
    return min((max(0.0, seconds) for seconds in waits if seconds is not None), default=None)
