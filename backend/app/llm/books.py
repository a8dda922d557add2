"""The books in the database: an attempt is committed before its call leaves and settled when its row ends.

The first attempt of a row is booked in the transaction of its claim; later openings that wait together share a
commit. An opening names the fence of its row, so a row that was discarded or reclaimed meanwhile can spend nothing
more. Between an opening and its settlement a crash leaves the outcome null; whoever reclaims the row marks it IN_DOUBT,
or a sweep does where there is nothing to reclaim.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import Database, sqlite_time, to_pico
from app.errors import LeaseLost
from app.json_rows import ColumnType, encode_rows, rows_as_table
from app.llm.attempts import NOTHING, UNSAID, Attempt, AttemptOutcome, Purpose

_PURPOSE: dict[str, ColumnType] = {
    "task": "text",
    "reason": "text",
    "prompt_id": "text",
    "prompt_version": "bigint",
    "api_key_id": "text",
    "is_stream": "boolean",
}


@dataclass(frozen=True, slots=True)
class Account:
    """For whom an attempt is made: a row of a worked table, under a fence."""

    lane: str
    table: str
    working: str
    id: str
    user_id: str
    claim_seq: int


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
        if booked is not None and (booked.provider, booked.model, booked.purpose) == (provider, model, purpose):
            self._booked = None
            self.attempts.append(booked)
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

    def end(self) -> list[Attempt]:
        """The run is over: everything that it has on the books, to be settled with its row."""
        if self._booked is not None:
            self._booked.settle(AttemptOutcome.UNUSED, usage=NOTHING)
            self.attempts.append(self._booked)
            self._booked = None
        return self.attempts


@dataclass(slots=True)
class _Opening:
    account: Account
    attempt: Attempt
    settled: list[Attempt]
    done: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Books:
    """Opens attempts for all jobs of a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Opening] = []
        self._flushing: asyncio.Task[None] | None = None

    async def open(self, account: Account, attempt: Attempt, settled: list[Attempt]) -> None:
        """Commit the attempt, and the settlements that came before it. Raises LeaseLost, ServiceUnavailable."""
        opening = _Opening(account, attempt, settled)
        self._waiting.append(opening)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        if not await opening.done:
            raise LeaseLost

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                opened = await self._database.write(partial(_write_openings, batch=batch))
            except Exception as error:  # noqa: BLE001 - each waiter gets it and deals with it
                for opening in batch:
                    if not opening.done.done():
                        opening.done.set_exception(error)
                continue
            for opening in batch:
                if not opening.done.done():
                    opening.done.set_result(opening.attempt.id in opened)


def _write_openings(session: Session, batch: Sequence[_Opening]) -> set[str]:
    settle(session, [attempt for opening in batch for attempt in opening.settled])
    return book(session, [(opening.account, opening.attempt) for opening in batch])


def book(session: Session, openings: Sequence[tuple[Account, Attempt]]) -> set[str]:
    """Put attempts on the books, each only while its row's fence stands; returns the ids of those that were.

    In the caller's transaction: no call may leave before it is committed.
    """
    opened: set[str] = set()
    for table, working in {(account.table, account.working) for account, _ in openings}:
        rows = [_row(account, attempt) for account, attempt in openings if account.table == table]
        statement = _book(table, working, on_sqlite=_is_sqlite(session))
        opened |= set(session.scalars(statement, {"rows": encode_rows(rows), "now": _time(session, utc_now())}))
    return opened


def _row(account: Account, attempt: Attempt) -> dict[str, Any]:
    return {
        "id": attempt.id,
        "lane": account.lane,
        "item_id": account.id,
        "user_id": account.user_id,
        "claim_seq": account.claim_seq,
        "provider": attempt.provider,
        "model": attempt.model,
        **purpose_columns(attempt.purpose),
    }


def purpose_columns(purpose: Purpose) -> dict[str, Any]:
    """As they are stored; under the names of its fields."""
    return {name: getattr(purpose, name) for name in _PURPOSE}


_BOOKED: dict[str, ColumnType] = {
    "id": "text",
    "lane": "text",
    "item_id": "text",
    "user_id": "text",
    "claim_seq": "bigint",
    "provider": "text",
    "model": "text",
}


@cache
def _book(table: str, working: str, *, on_sqlite: bool) -> TextClause:
    kinds = _BOOKED | _PURPOSE
    columns = tuple(kinds)
    return text(
        f"INSERT INTO llm_attempts ({', '.join(columns)}, started_at)"  # noqa: S608 - names from our own code
        f" SELECT {', '.join('v.' + name for name in columns)}, {_moment(':now', on_sqlite=on_sqlite)}"
        f" FROM {rows_as_table(kinds, on_sqlite=on_sqlite)} JOIN {table} ON {table}.id = v.item_id"
        f" WHERE {table}.claim_seq = v.claim_seq AND {table}.status || '' = '{working}' RETURNING id"
    )


_SETTLED: dict[str, ColumnType] = {
    "ended_at": "text",
    "outcome": "text",
    "error_code": "text",
    "model": "text",
    "input_tokens": "bigint",
    "output_tokens": "bigint",
    "input_price_usd": "bigint",
    "output_price_usd": "bigint",
    "cost_usd": "bigint",
    "cached_tokens": "bigint",
    "cached_price_usd": "bigint",
    "latency_ms": "bigint",
    "first_token_ms": "bigint",
    "saved_tokens": "bigint",
    "saved_usd": "bigint",
    "id": "text",
}
# As an expression: else PostgreSQL takes the few open attempts for a reason to walk through the whole table.
_UNSETTLED = "COALESCE(llm_attempts.outcome, 'IN_DOUBT') = 'IN_DOUBT'"
_SETTLE_EACH = (
    f"UPDATE llm_attempts SET {', '.join(f'{name} = ?' for name in _SETTLED if name != 'id')}"  # noqa: S608
    f" WHERE id = ? AND {_UNSETTLED}"
)


def settle(session: Session, attempts: Sequence[Attempt]) -> None:
    """Write the outcome, the tokens and the cost of these attempts; safe to repeat.

    A late answer may still resolve what a reclaim had marked IN_DOUBT: then the doubt is over.
    """
    if not attempts:
        return
    rows = [_settlement(session, attempt) for attempt in attempts]
    if _is_sqlite(session):
        session.connection().exec_driver_sql(_SETTLE_EACH, rows)
    else:
        named = [dict(zip(_SETTLED, row, strict=True)) for row in rows]
        session.execute(_settle(), {"rows": encode_rows(named)})


@cache
def _settle() -> TextClause:
    plain = [f"{name} = v.{name}" for name in _SETTLED if name not in ("id", "ended_at")]
    return text(
        f"UPDATE llm_attempts SET ended_at = {_moment('v.ended_at', on_sqlite=False)}, {', '.join(plain)}"  # noqa: S608
        f" FROM {rows_as_table(_SETTLED, on_sqlite=False)} WHERE llm_attempts.id = v.id AND {_UNSETTLED}"
    )


def _settlement(session: Session, attempt: Attempt) -> tuple[Any, ...]:
    """In the order of `_SETTLED`."""
    usage, saved = attempt.usage, attempt.saved
    return (
        _time(session, attempt.ended_at or utc_now()),
        attempt.outcome or AttemptOutcome.CANCELLED,
        attempt.error_code,
        attempt.model,
        usage.input_tokens,
        usage.output_tokens,
        to_pico(usage.input_price_usd),
        to_pico(usage.output_price_usd),
        to_pico(usage.cost_usd),
        usage.cached_tokens,
        to_pico(usage.cached_price_usd),
        attempt.latency_ms,
        attempt.first_token_ms,
        None if saved is None else saved.total_tokens,
        None if saved is None else to_pico(saved.cost_usd),
        attempt.id,
    )


def doubt(session: Session, ids: Sequence[str]) -> None:
    """Mark what a dead worker left open for these rows: it counts as spent, how much is unknown."""
    if ids:
        rows = encode_rows([{"id": row_id} for row_id in ids])
        binds = {"rows": rows, "now": _time(session, utc_now())}
        session.execute(_doubt(on_sqlite=_is_sqlite(session)), binds)


@cache
def _doubt(*, on_sqlite: bool) -> TextClause:
    ids = rows_as_table({"id": "text"}, on_sqlite=on_sqlite)
    now = _moment(":now", on_sqlite=on_sqlite)
    return text(
        f"UPDATE llm_attempts SET outcome = 'IN_DOUBT', ended_at = {now}"  # noqa: S608 - no value is in the text
        f" FROM {ids} WHERE llm_attempts.item_id = v.id AND outcome IS NULL"
    )


def doubt_orphans(session: Session, table: str) -> None:
    """Mark the attempts that are still open though their row has gone on without them.

    A discarded row is never reclaimed: when the worker that had it died, nobody else would settle these. A worker that
    lives settles them in a moment, which ends the doubt; it is not waited for, or two sweeps could deadlock.
    """
    binds = {"now": _time(session, utc_now())}
    session.execute(_doubt_orphans(table, on_sqlite=_is_sqlite(session)), binds)


@cache
def _doubt_orphans(table: str, *, on_sqlite: bool) -> TextClause:
    now = _moment(":now", on_sqlite=on_sqlite)
    return text(
        f"UPDATE llm_attempts SET outcome = 'IN_DOUBT', ended_at = {now} WHERE id IN ("  # noqa: S608 - our own names
        f"SELECT llm_attempts.id FROM llm_attempts JOIN {table} ON {table}.id = llm_attempts.item_id"
        f" WHERE llm_attempts.outcome IS NULL AND {table}.claim_seq <> llm_attempts.claim_seq"
        f"{'' if on_sqlite else ' FOR UPDATE OF llm_attempts SKIP LOCKED'})"
    )


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _time(session: Session, moment: datetime) -> str:
    return sqlite_time(moment) if _is_sqlite(session) else moment.isoformat()


def _moment(sql: str, *, on_sqlite: bool) -> str:
    return sql if on_sqlite else f"CAST(CAST({sql} AS text) AS timestamptz)"
