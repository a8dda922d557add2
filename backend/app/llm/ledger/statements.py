"""The ledger in the database: one row for each upstream call, booked before it leaves and settled after it.

Between an opening and its settlement a crash leaves the outcome null; whoever reclaims the row marks it IN_DOUBT, or a
sweep does where there is nothing to reclaim. Where there are budgets, a booking reserves what the call may cost and a
settlement puts the real cost in its place, in the same transaction (`spending/counters.py`).
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, TextClause, column, delete, text
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import TextualSelect

from app.clock import utc_now
from app.database import from_pico, sqlite_time, to_pico
from app.json_rows import ColumnType, encode_rows, rows_as_table
from app.llm.attempts import Attempt, AttemptOutcome, FirstCall, Purpose
from app.llm.ledger.attempt_model import LLMAttempt
from app.spending import counters
from app.spending.budget import Spender
from app.spending.counters import IS_COUNTING, Refusal, Reservation


@dataclass(frozen=True, slots=True)
class Account:
    """For whom an attempt is made: a row of a worked table, under a fence."""

    lane: str
    table: str
    working: str
    id: str
    user_id: str
    claim_seq: int


@dataclass(frozen=True, slots=True)
class Booked:
    """Which attempts are on the books, by id, and which of the others would have crossed a budget."""

    opened: AbstractSet[str]
    refused: Mapping[str, Refusal] = field(default_factory=dict)


def book(session: Session, openings: Sequence[tuple[Account, Attempt]]) -> Booked:
    """Put attempts on the books, each only while its row's fence stands and the budgets allow it.

    In the caller's transaction: no call may leave before it is committed.
    """
    now = utc_now()
    rows = _insert(session, openings, now)
    opened = {row.id for row in rows}
    if not any(row.is_counting for row in rows):
        return Booked(opened)
    wanted = [
        Reservation(attempt.id, _spender(account, attempt, now), attempt.purpose.most_usd)
        for account, attempt in openings
        if attempt.id in opened
    ]
    refused = counters.reserve(session, wanted)
    if refused:
        session.execute(delete(LLMAttempt).where(LLMAttempt.id.in_(refused)))
    return Booked(opened - refused.keys(), refused)


def book_ahead(session: Session, call: FirstCall, accounts: Sequence[Account]) -> Mapping[str, Attempt]:
    """An attempt for each of these rows of one lane, by the row's id, before anybody knows what will be asked.

    In the transaction that claimed the rows, so that their fences stand. None of them while there is a budget: what a
    call may cost is known later, and reserved with its own opening.
    """
    attempts = {
        account.id: Attempt(provider=call.provider, model=call.model, purpose=call.purpose) for account in accounts
    }
    rows = [(attempts[account.id].id, account.id, account.user_id, account.claim_seq) for account in accounts]
    same = {
        "lane": accounts[0].lane,
        "provider": call.provider,
        "model": call.model,
        **purpose_columns(call.purpose),
        "started_at": _time(session, utc_now()),
    }
    if _is_sqlite(session):
        # A statement for each row costs a third of one that takes the rows from JSON.
        if counters.is_counting(session):
            return {}
        shared = tuple(same.values())
        session.connection().exec_driver_sql(_BOOK_EACH, [(*row, *shared) for row in rows])
        return attempts
    named = [dict(zip(_AHEAD, row, strict=True)) for row in rows]
    are_booked = session.execute(_book_ahead(), {"rows": encode_rows(named), **same}).first() is not None
    return attempts if are_booked else {}


def _insert(session: Session, openings: Sequence[tuple[Account, Attempt]], now: datetime) -> list[Any]:
    found: list[Any] = []
    for table, working in {(account.table, account.working) for account, _ in openings}:
        rows = [_row(account, attempt) for account, attempt in openings if account.table == table]
        statement = _book(table, working, on_sqlite=_is_sqlite(session))
        found += session.execute(statement, {"rows": encode_rows(rows), "now": _time(session, now)}).all()
    return found


def _spender(account: Account, attempt: Attempt, booked_at: datetime) -> Spender:
    return Spender(account.user_id, attempt.purpose.api_key_id, booked_at)


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
        "reserved_usd": to_pico(attempt.purpose.most_usd),
    }


def purpose_columns(purpose: Purpose) -> dict[str, Any]:
    """As they are stored, under the names of its fields; what it may cost is not among them."""
    return {name: getattr(purpose, name) for name in _PURPOSE}


_PURPOSE: dict[str, ColumnType] = {
    "task": "text",
    "reason": "text",
    "prompt_id": "text",
    "prompt_version": "bigint",
    "api_key_id": "text",
    "is_stream": "boolean",
}
_BOOKED: dict[str, ColumnType] = {
    "id": "text",
    "lane": "text",
    "item_id": "text",
    "user_id": "text",
    "claim_seq": "bigint",
    "provider": "text",
    "model": "text",
    **_PURPOSE,
    "reserved_usd": "bigint",
}


# The question whether there are budgets is part of the statements: asked before, on PostgreSQL, the answer could be out
# of date; whoever makes the first budget locks the table of the books, and so waits for these.
@cache
def _book(table: str, working: str, *, on_sqlite: bool) -> TextClause:
    return text(
        f"INSERT INTO llm_attempts ({', '.join(_BOOKED)}, started_at)"  # noqa: S608 - names from our own code
        f" SELECT {', '.join('v.' + name for name in _BOOKED)}, {_moment(':now', on_sqlite=on_sqlite)}"
        f" FROM {rows_as_table(_BOOKED, on_sqlite=on_sqlite)} JOIN {table} ON {table}.id = v.item_id"
        f" WHERE {table}.claim_seq = v.claim_seq AND {table}.status || '' = '{working}'"
        f" RETURNING id, {IS_COUNTING} AS is_counting"
    )


# Of each row, and the same for all.
_AHEAD: dict[str, ColumnType] = {"id": "text", "item_id": "text", "user_id": "text", "claim_seq": "bigint"}
_SAME: dict[str, ColumnType] = {"lane": "text", "provider": "text", "model": "text", **_PURPOSE}
_BOOK_EACH = (
    f"INSERT INTO llm_attempts ({', '.join((*_AHEAD, *_SAME))}, started_at)"  # noqa: S608 - names from our own code
    f" VALUES ({', '.join('?' * (len(_AHEAD) + len(_SAME) + 1))})"
)


@cache
def _book_ahead() -> TextClause:
    """PostgreSQL only."""
    same = ", ".join(f"CAST(:{name} AS {kind})" for name, kind in _SAME.items())
    return text(
        f"INSERT INTO llm_attempts ({', '.join((*_AHEAD, *_SAME))}, started_at)"  # noqa: S608 - names from our own code
        f" SELECT {', '.join('v.' + name for name in _AHEAD)}, {same}, {_moment(':started_at', on_sqlite=False)}"
        f" FROM {rows_as_table(_AHEAD, on_sqlite=False)} WHERE NOT {IS_COUNTING} RETURNING id"
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
_SETTLED_PAID: dict[str, ColumnType] = {**_SETTLED, "reserved_usd": "bigint"}
# Of an attempt that was booked ahead it becomes known later; of all others it stays as it was.
_AS_SETTLED = {"reserved_usd": "COALESCE(llm_attempts.reserved_usd, {})"}
# As an expression: else PostgreSQL takes the few open attempts for a reason to walk through the whole table.
_UNSETTLED = "COALESCE(llm_attempts.outcome, 'IN_DOUBT') = 'IN_DOUBT'"


def _settle_each(*names: str) -> str:
    settings = ", ".join(f"{name} = {_AS_SETTLED.get(name, '{}').format('?')}" for name in names)
    return f"UPDATE llm_attempts SET {settings} WHERE id = ? AND {_UNSETTLED}"  # noqa: S608 - no value is in the text


# The free ones, which are many at a time, do without the column for what was reserved: it was nothing from the start.
_SETTLE_FREE = _settle_each(*[name for name in _SETTLED if name != "id"])
_SETTLE_PAID = _settle_each("reserved_usd", *[name for name in _SETTLED if name != "id"])


def settle(session: Session, attempts: Sequence[Attempt]) -> None:
    """Write the outcome, the tokens and the cost of these attempts; safe to repeat.

    A late answer may still resolve what a reclaim had marked IN_DOUBT: then the doubt is over.
    """
    if not attempts:
        return
    if _is_sqlite(session):
        _settle_on_sqlite(session, attempts)
        return
    # What is null may be left out, and most of it is.
    named = [
        {name: value for name, value in _settled_row(session, attempt).items() if value is not None}
        for attempt in attempts
    ]
    changed = session.execute(_settle(), {"rows": encode_rows(named)}).all()
    if changed:
        counters.settle(session, [_change(row, row.charge_before, row.charge) for row in changed])


def _settled_row(session: Session, attempt: Attempt) -> dict[str, Any]:
    row = dict(zip(_SETTLED, _settlement(session, attempt), strict=True))
    return {**row, "reserved_usd": to_pico(attempt.purpose.most_usd)}


def _settle_on_sqlite(session: Session, attempts: Sequence[Attempt]) -> None:
    """The one writer may look before and after; no statement tells it what it wanted to know in passing."""
    ids = before = None
    if counters.is_counting(session):
        ids = encode_rows([{"id": attempt.id} for attempt in attempts])
        before = session.execute(_charges(_UNSETTLED), {"rows": ids}).all()
    free = [_settlement(session, attempt) for attempt in attempts if not attempt.purpose.most_usd]
    paid = [
        (to_pico(attempt.purpose.most_usd), *_settlement(session, attempt))
        for attempt in attempts
        if attempt.purpose.most_usd
    ]
    for statement, rows in ((_SETTLE_FREE, free), (_SETTLE_PAID, paid)):
        if rows:
            session.connection().exec_driver_sql(statement, rows)
    if before:
        after = {row.id: row.charge for row in session.execute(_charges("true"), {"rows": ids})}
        counters.settle(session, [_change(row, row.charge, after[row.id]) for row in before])


def _change(row: Any, before: int, after: int) -> tuple[Spender, Decimal]:  # noqa: ANN401 - a Row
    return Spender(row.user_id, row.api_key_id, row.started_at), from_pico(after - before)


# What an attempt counts as, in units of `PicoUsd`.
_CHARGE = "COALESCE({0}.cost_usd, {0}.reserved_usd, 0)"
_WHOSE = (LLMAttempt.id, LLMAttempt.user_id, LLMAttempt.api_key_id, LLMAttempt.started_at)
_COUNTED = (*_WHOSE, column("charge", BigInteger))


@cache
def _charges(condition: str) -> TextualSelect:
    """Of the attempts in the bind `:rows`; SQLite only."""
    names = ", ".join(f"llm_attempts.{entry.key}" for entry in _WHOSE)
    return text(
        f"SELECT {names}, {_CHARGE.format('llm_attempts')} AS charge"  # noqa: S608 - no value is in the text
        f" FROM {rows_as_table({'id': 'text'}, on_sqlite=True)} JOIN llm_attempts ON llm_attempts.id = v.id"
        f" WHERE {condition}"
    ).columns(*_COUNTED)


@cache
def _settle() -> TextualSelect:
    """PostgreSQL only. It returns the rows that it changed where there are budgets, else none.

    A subquery in RETURNING sees the row as it was before the statement.
    """
    plain = [
        f"{name} = {_AS_SETTLED.get(name, '{}').format(f'v.{name}')}"
        for name in _SETTLED_PAID
        if name not in ("id", "ended_at")
    ]
    names = ", ".join(f"llm_attempts.{entry.key}" for entry in _WHOSE)
    before = f"SELECT {_CHARGE.format('was')} FROM llm_attempts was WHERE was.id = llm_attempts.id"  # noqa: S608
    return text(
        f"WITH changed AS (UPDATE llm_attempts"  # noqa: S608 - no value is in the text
        f" SET ended_at = {_moment('v.ended_at', on_sqlite=False)}, {', '.join(plain)}"
        f" FROM {rows_as_table(_SETTLED_PAID, on_sqlite=False)} WHERE llm_attempts.id = v.id AND {_UNSETTLED}"
        f" RETURNING {names}, {_CHARGE.format('llm_attempts')} AS charge,"
        f" CASE WHEN {IS_COUNTING} THEN ({before}) END AS charge_before)"
        f" SELECT id, user_id, api_key_id, started_at, charge, charge_before FROM changed WHERE {IS_COUNTING}"
    ).columns(*_COUNTED, column("charge_before", BigInteger))


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
        None if saved is None else saved.tokens,
        None if saved is None else to_pico(saved.cost_usd),
        attempt.id,
    )


def doubt(session: Session, ids: Sequence[str]) -> None:
    """Mark what a dead worker left open for these rows: what was reserved for it counts as spent.

    A late settlement that is under way is not waited for: it ends the doubt, and may wait for our counters.
    """
    if ids:
        rows = encode_rows([{"id": row_id} for row_id in ids])
        binds = {"rows": rows, "now": _time(session, utc_now())}
        session.execute(_doubt(on_sqlite=_is_sqlite(session)), binds)


@cache
def _doubt(*, on_sqlite: bool) -> TextClause:
    ids = rows_as_table({"id": "text"}, on_sqlite=on_sqlite)
    now = _moment(":now", on_sqlite=on_sqlite)
    return text(
        f"UPDATE llm_attempts SET outcome = 'IN_DOUBT', ended_at = {now} WHERE id IN ("  # noqa: S608 - our own names
        f"SELECT llm_attempts.id FROM {ids} JOIN llm_attempts ON llm_attempts.item_id = v.id"
        f" WHERE llm_attempts.outcome IS NULL{'' if on_sqlite else ' FOR UPDATE OF llm_attempts SKIP LOCKED'})"
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
        f"{orphans_of(table)}{'' if on_sqlite else ' FOR UPDATE OF llm_attempts SKIP LOCKED'})"
    )


def orphans_of(table: str) -> str:
    """SQL: the ids of the attempts that are open though their row of `table` has gone on without them."""
    return (
        f"SELECT llm_attempts.id FROM llm_attempts JOIN {table} ON {table}.id = llm_attempts.item_id"  # noqa: S608
        f" WHERE llm_attempts.outcome IS NULL AND {table}.claim_seq <> llm_attempts.claim_seq"
    )


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _time(session: Session, moment: datetime) -> str:
    return sqlite_time(moment) if _is_sqlite(session) else moment.isoformat()


def _moment(sql: str, *, on_sqlite: bool) -> str:
    return sql if on_sqlite else f"CAST(CAST({sql} AS text) AS timestamptz)"
