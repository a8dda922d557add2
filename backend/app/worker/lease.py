"""Every statement that claims, beats, finishes, defers, releases or reclaims a row.

The fence is in each of them: a row is written only under the `claim_seq` that its writer holds, so a late write
finds no row. All run in the caller's transaction; on PostgreSQL the database's clock decides about leases, on SQLite
the process's, of which there is one. Statuses are literals: a bound one hides the partial indexes from the planner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Update, and_, bindparam, case, func, literal, null, select, text, update
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import UtcDateTime
from app.errors import LLMInterrupted
from app.json_rows import encode_rows, rows_as_table
from app.worker.lane import Ended, Work, WorkTable

MAX_DEATHS = 3


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """Rows whose worker died: those that can be claimed again and those that died once too often."""

    ids: list[str]
    poisoned: list[Ended]


def claim(session: Session, work: WorkTable, *, owner: str, lease_seconds: float, limit: int) -> list[Work]:
    """Lease up to `limit` ready rows to `owner`, in the order of their rank."""
    columns = work.table.c
    ready = and_(_working(work), columns.lease_owner.is_(None), columns.not_before.is_(None))
    chosen = select(columns.id).where(ready).order_by(columns.rank, columns.created_at, columns.id).limit(limit)
    statement = _update_chosen(session, work, chosen).values(
        lease_owner=owner,
        lease_until=_later(session, lease_seconds),
        claim_seq=columns.claim_seq + 1,
        attempt=columns.attempt + 1,
    )
    returned = [columns[name] for name in ("id", "user_id", "claim_seq", "attempt", "rank", *work.payload)]
    rows = session.execute(statement.returning(*returned)).all()
    return [_as_work(row, work) for row in sorted(rows, key=lambda row: (row.rank, row.id))]


def promote_due(session: Session, work: WorkTable) -> None:
    """Make deferred rows ready whose time has come."""
    columns = work.table.c
    due = and_(_working(work), columns.lease_owner.is_(None), columns.not_before <= _now(session))
    chosen = select(columns.id).where(due).limit(1000)
    session.execute(_update_chosen(session, work, chosen).values(not_before=None))


def reclaim(session: Session, work: WorkTable, *, everything: bool = False) -> Reclaimed:
    """Take back rows whose lease ran out, or every leased row when their one worker is known to be dead.

    A row that was lost MAX_DEATHS times fails without another call: it may be what kills the worker.
    """
    columns = work.table.c
    lost = and_(_working(work), columns.lease_owner.is_not(None))
    if not everything:
        lost = and_(lost, columns.lease_until < _now(session))
    poisoned = columns.deaths + 1 >= MAX_DEATHS
    error = f"{LLMInterrupted.code}: {LLMInterrupted.sentence}"
    statement = _update_chosen(session, work, select(columns.id).where(lost).limit(1000)).values(
        {
            "lease_owner": null(),
            "lease_until": null(),
            "claim_seq": columns.claim_seq + 1,
            "deaths": columns.deaths + 1,
            "status": case((poisoned, literal(work.failed)), else_=columns.status),
            work.error: case((poisoned, literal(error)), else_=columns[work.error]),
            "updated_at": case((poisoned, _now(session)), else_=columns.updated_at),
        }
    )
    rows = session.execute(statement.returning(columns.id, columns.user_id, columns.status)).all()
    dead = [Ended(row.id, row.user_id, row.status) for row in rows if row.status == work.failed]
    return Reclaimed([row.id for row in rows], dead)


def beat(
    session: Session, work: WorkTable, held: Sequence[tuple[str, int]], *, lease_seconds: float
) -> set[tuple[str, int]]:
    """Extend the leases on these `(id, claim_seq)`; those missing in the answer are lost or discarded."""
    table = work.table.name
    statement = text(
        f"UPDATE {table} SET lease_until = :until"  # noqa: S608 - names from our own code
        f" FROM {rows_as_table(session, {'id': 'text', 'claim_seq': 'bigint'})}"
        f" WHERE {table}.id = v.id AND {table}.claim_seq = v.claim_seq AND {_still_working(work)}"
        f" RETURNING {table}.id, {table}.claim_seq"
    )
    if session.get_bind().dialect.name == "postgresql":
        statement = text(statement.text.replace(":until", "now() + make_interval(secs => :seconds)"))
        binds: dict[str, Any] = {"seconds": lease_seconds}
    else:
        statement = statement.bindparams(bindparam("until", type_=UtcDateTime))
        binds = {"until": utc_now() + timedelta(seconds=lease_seconds)}
    rows = encode_rows([{"id": row_id, "claim_seq": seq} for row_id, seq in held])
    return {(row.id, row.claim_seq) for row in session.execute(statement, {"rows": rows, **binds})}


def finish(session: Session, work: WorkTable, results: Sequence[Mapping[str, Any]]) -> list[Ended]:
    """Write these results, each `{id, claim_seq, status, …}`, where the fence still stands; returns the rows written.

    This is the re-check under the row's lock: PostgreSQL evaluates the condition again after waiting for the row,
    and on SQLite writers are serial.
    """
    if not results:
        return []
    table = work.table.name
    columns = {"id": "text", "claim_seq": "bigint", "status": "text", **work.results}
    settings = [
        f"{name} = COALESCE({table}.{name}, v.{name})" if name in work.kept else f"{name} = v.{name}"
        for name in ("status", *work.results)
    ]
    statement = text(
        f"UPDATE {table} SET {', '.join(settings)}, claim_seq = {table}.claim_seq + 1,"  # noqa: S608 - as above
        " lease_owner = NULL, lease_until = NULL, not_before = NULL, updated_at = :now"
        f" FROM {rows_as_table(session, columns)}"
        f" WHERE {table}.id = v.id AND {table}.claim_seq = v.claim_seq AND {_still_working(work)}"
        f" RETURNING {table}.id, {table}.user_id, {table}.status"
    ).bindparams(bindparam("now", type_=UtcDateTime))
    rows = session.execute(statement, {"rows": encode_rows(results), "now": utc_now()})
    return [Ended(row.id, row.user_id, row.status) for row in rows]


def give_back(
    session: Session, work: WorkTable, held: Work, *, delay_seconds: float | None, attempt_returned: bool
) -> bool:
    """Defer the row by `delay_seconds`, or release it at once; false when it was no longer ours."""
    columns = work.table.c
    later = null() if delay_seconds is None else _later(session, delay_seconds)
    statement = (
        update(work.table)
        .where(columns.id == held.id, columns.claim_seq == held.claim_seq, _working(work))
        .values(
            lease_owner=None,
            lease_until=None,
            claim_seq=columns.claim_seq + 1,
            not_before=later,
            attempt=columns.attempt - 1 if attempt_returned else columns.attempt,
        )
    )
    return session.execute(statement.returning(columns.id)).first() is not None


def seconds_until_due(session: Session, work: WorkTable) -> float | None:
    """How long until the next deferred row is due or the next lease runs out; null when there is none of either."""
    columns = work.table.c
    waiting = and_(_working(work), columns.lease_owner.is_(None), columns.not_before.is_not(None))
    leased = and_(_working(work), columns.lease_owner.is_not(None))
    next_due = select(columns.not_before).where(waiting).order_by(columns.not_before).limit(1).scalar_subquery()
    next_loss = select(columns.lease_until).where(leased).order_by(columns.lease_until).limit(1).scalar_subquery()
    now, *moments = session.execute(select(_now(session), next_due, next_loss)).one()
    waits = [max(0.0, (moment - now).total_seconds()) for moment in moments if moment is not None]
    return min(waits, default=None)


def _update_chosen(session: Session, work: WorkTable, chosen: Any) -> Update:  # noqa: ANN401 - a Select of ids
    """An UPDATE of the chosen rows; on PostgreSQL rows that another process is at are passed over, not waited for."""
    if session.get_bind().dialect.name == "sqlite":
        return update(work.table).where(work.table.c.id.in_(chosen))
    locked = chosen.with_for_update(skip_locked=True, key_share=True)
    picked = locked.cte("picked").prefix_with("MATERIALIZED", dialect="postgresql")
    return update(work.table).where(work.table.c.id == picked.c.id)


def _working(work: WorkTable) -> ColumnElement[bool]:
    return text(f"{work.table.name}.status = '{work.working}'")  # type: ignore[return-value]


def _still_working(work: WorkTable) -> str:
    """For joins on given ids: as an expression, or the planner may walk a partial index instead of the ids."""
    return f"{work.table.name}.status || '' = '{work.working}'"


def _now(session: Session) -> ColumnElement[datetime]:
    """Stable within a statement: a volatile clock could not be compared by way of an index."""
    if session.get_bind().dialect.name == "sqlite":
        return literal(utc_now(), UtcDateTime)
    return func.now(type_=UtcDateTime)


def _later(session: Session, seconds: float) -> ColumnElement[datetime]:
    if session.get_bind().dialect.name == "sqlite":
        return literal(utc_now() + timedelta(seconds=seconds), UtcDateTime)
    return func.now(type_=UtcDateTime) + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _as_work(row: Row[Any], work: WorkTable) -> Work:
    payload = {name: getattr(row, name) for name in work.payload}
    return Work(id=row.id, user_id=row.user_id, claim_seq=row.claim_seq, attempt=row.attempt, payload=payload)
