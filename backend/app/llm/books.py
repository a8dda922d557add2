"""The books in the database: an attempt is committed before its call leaves and settled when its row ends.

Openings that wait together share a commit. An opening names the fence of its row, so a row that was discarded or
reclaimed meanwhile can spend nothing more. Between an opening and its settlement a crash leaves the outcome null;
whoever reclaims the row marks it IN_DOUBT.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import Database, UtcDateTime, to_pico
from app.errors import LeaseLost
from app.json_rows import encode_rows, rows_as_table
from app.llm.attempts import Attempt, AttemptOutcome


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
    """The recorder of one run on one row; `attempts` is what it opened, in order."""

    def __init__(self, books: "Books", account: Account, may_spend: Callable[[], bool]) -> None:
        self._books, self._account, self._may_spend = books, account, may_spend
        self._unwritten: list[Attempt] = []
        self.attempts: list[Attempt] = []

    async def open(self, *, provider: str, model: str) -> Attempt:
        """See AttemptRecorder. The deadline is asked again at the end: the process may have been stopped meanwhile."""
        if not self._may_spend():
            raise LeaseLost
        attempt = Attempt(provider=provider, model=model)
        self.attempts.append(attempt)
        settled, self._unwritten = self._unwritten, []
        await self._books.open(self._account, attempt, settled)
        if not self._may_spend():
            raise LeaseLost
        return attempt

    def close(self, attempt: Attempt) -> None:
        self._unwritten.append(attempt)


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
    opened: set[str] = set()
    for table, working in {(opening.account.table, opening.account.working) for opening in batch}:
        rows = [_row(opening) for opening in batch if opening.account.table == table]
        opened |= _insert_fenced(session, table, working, rows)
    return opened


def _row(opening: _Opening) -> dict[str, Any]:
    account, attempt = opening.account, opening.attempt
    return {
        "id": attempt.id,
        "lane": account.lane,
        "item_id": account.id,
        "user_id": account.user_id,
        "claim_seq": account.claim_seq,
        "provider": attempt.provider,
        "model": attempt.model,
    }


def _insert_fenced(session: Session, table: str, working: str, rows: Sequence[dict[str, Any]]) -> set[str]:
    columns = ("id", "lane", "item_id", "user_id", "claim_seq", "provider", "model")
    kinds = {name: "bigint" if name == "claim_seq" else "text" for name in columns}
    statement = text(
        f"INSERT INTO llm_attempts ({', '.join(columns)}, started_at)"  # noqa: S608 - names from our own code
        f" SELECT {', '.join('v.' + name for name in columns)}, :now"
        f" FROM {rows_as_table(session, kinds)} JOIN {table} ON {table}.id = v.item_id"  # type: ignore[arg-type]
        f" WHERE {table}.claim_seq = v.claim_seq AND {table}.status || '' = '{working}' RETURNING id"
    ).bindparams(bindparam("now", type_=UtcDateTime))
    return {row.id for row in session.execute(statement, {"rows": encode_rows(rows), "now": utc_now()})}


def settle(session: Session, attempts: Sequence[Attempt]) -> None:
    """Write the outcome, the tokens and the cost of these attempts; safe to repeat.

    A late answer may still resolve what a reclaim had marked IN_DOUBT: then the doubt is over.
    """
    if not attempts:
        return
    columns = {
        "id": "text",
        "ended_at": "text",
        "outcome": "text",
        "error_code": "text",
        "model": "text",
        "input_tokens": "bigint",
        "output_tokens": "bigint",
        "input_price_usd": "bigint",
        "output_price_usd": "bigint",
        "cost_usd": "bigint",
    }
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    ended = "v.ended_at" if on_sqlite else "CAST(v.ended_at AS timestamptz)"
    plain = [name for name in columns if name not in ("id", "ended_at")]
    statement = text(
        f"UPDATE llm_attempts SET ended_at = {ended}, {', '.join(f'{name} = v.{name}' for name in plain)}"  # noqa: S608
        f" FROM {rows_as_table(session, columns)}"  # type: ignore[arg-type]
        " WHERE llm_attempts.id = v.id AND (llm_attempts.outcome IS NULL OR llm_attempts.outcome = 'IN_DOUBT')"
    )
    session.execute(statement, {"rows": encode_rows([_settlement(attempt, on_sqlite) for attempt in attempts])})


def _settlement(attempt: Attempt, on_sqlite: bool) -> dict[str, Any]:  # noqa: FBT001
    ended_at = attempt.ended_at or utc_now()
    usage = attempt.usage
    return {
        "id": attempt.id,
        "ended_at": ended_at.strftime("%Y-%m-%d %H:%M:%S.%f") if on_sqlite else ended_at.isoformat(),
        "outcome": attempt.outcome or AttemptOutcome.CANCELLED,
        "error_code": attempt.error_code,
        "model": attempt.model,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "input_price_usd": to_pico(usage.input_price_usd),
        "output_price_usd": to_pico(usage.output_price_usd),
        "cost_usd": to_pico(usage.cost_usd),
    }


def doubt(session: Session, ids: Sequence[str]) -> None:
    """Mark what a dead worker left open for these rows: it counts as spent, how much is unknown."""
    if not ids:
        return
    statement = text(
        "UPDATE llm_attempts SET outcome = 'IN_DOUBT', ended_at = :now"  # noqa: S608 - no value is in the text
        f" FROM {rows_as_table(session, {'id': 'text'})} WHERE llm_attempts.item_id = v.id AND outcome IS NULL"
    ).bindparams(bindparam("now", type_=UtcDateTime))
    session.execute(statement, {"rows": encode_rows([{"id": row_id} for row_id in ids]), "now": utc_now()})
