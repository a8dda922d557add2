"""The SQL of the worker, written once for each table and engine: built anew, a statement costs more than it runs.

Statuses are literals: a bound one hides the partial indexes from the planner. On PostgreSQL the database's clock
decides, stable within a statement, since a volatile one could not be compared by way of an index; on SQLite the
process's, of which there is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import TextualSelect

from app.clock import utc_now
from app.database import sqlite_time
from app.errors import LLMInterrupted
from app.json_rows import ColumnType, rows_as_table
from app.llm.ledger.statements import orphans_of
from app.worker.lane import WorkTable

MAX_DEATHS = 3
_AT_MOST = 1000  # rows that one statement promotes or reclaims


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements that work one table on one engine; `binds` gives the times that they ask for."""

    on_sqlite: bool
    claim: TextualSelect
    promote: TextClause
    reclaim_expired: TextClause
    reclaim_all: TextClause
    beat: TextClause
    finish: TextClause
    finish_each: str
    give_back: TextClause
    seconds_until_due: TextClause
    outlook: TextClause

    def now(self) -> dict[str, Any]:
        return {"now": sqlite_time(utc_now())} if self.on_sqlite else {}

    def later(self, seconds: float | None) -> dict[str, Any]:
        """None is never."""
        if not self.on_sqlite:
            return {"seconds": seconds}
        return {"later": None if seconds is None else sqlite_time(utc_now() + timedelta(seconds=seconds))}


def statements_of(session: Session, work: WorkTable) -> Statements:
    return _build(work, session.get_bind().dialect.name)


@cache
def _build(work: WorkTable, engine: str) -> Statements:
    sql = _Sql(work, on_sqlite=engine == "sqlite")
    leased = "lease_owner IS NOT NULL"
    return Statements(
        on_sqlite=sql.on_sqlite,
        claim=sql.claim(),
        promote=text(sql.update_chosen("not_before = NULL", f"lease_owner IS NULL AND not_before <= {sql.now}")),
        reclaim_expired=sql.reclaim(f"{leased} AND lease_until < {sql.now}"),
        # Of a row that was born leased, never claimed, the lease decides: its request may be open in another process.
        reclaim_all=sql.reclaim(f"{leased} AND attempt > 0"),
        beat=sql.update_held(f"lease_until = {sql.later}", {}, ("id", "claim_seq")),
        finish=sql.finish(),
        finish_each=sql.finish_each(),
        give_back=sql.give_back(),
        seconds_until_due=sql.seconds_until_due(),
        outlook=sql.outlook(),
    )


class _Sql:
    def __init__(self, work: WorkTable, *, on_sqlite: bool) -> None:
        self._work, self.on_sqlite = work, on_sqlite
        self._table = work.table.name
        self._working = f"{self._table}.status = '{work.working}'"
        self.now = ":now" if on_sqlite else "now()"
        self.later = ":later" if on_sqlite else "(now() + make_interval(secs => :seconds))"

    def update_chosen(self, settings: str, condition: str, order: str = "", limit: str = str(_AT_MOST)) -> str:
        """Rows that another process is at are passed over on PostgreSQL, not waited for."""
        chosen = f"SELECT id FROM {self._table} WHERE {self._working} AND {condition} {order} LIMIT {limit}"  # noqa: S608
        if self.on_sqlite:
            return f"UPDATE {self._table} SET {settings} WHERE id IN ({chosen})"  # noqa: S608 - names from our own code
        picked = f"WITH picked AS MATERIALIZED ({chosen} FOR NO KEY UPDATE SKIP LOCKED)"
        return f"{picked} UPDATE {self._table} SET {settings} FROM picked WHERE {self._table}.id = picked.id"  # noqa: S608

    def claim(self) -> TextualSelect:
        settings = (
            f"lease_owner = :owner, lease_until = {self.later},"
            f" claim_seq = {self._table}.claim_seq + 1, attempt = {self._table}.attempt + 1"
        )
        ready = "lease_owner IS NULL AND not_before IS NULL"
        update = self.update_chosen(settings, ready, "ORDER BY rank, created_at, id", ":limit")
        names = ("id", "user_id", "claim_seq", "attempt", "rank", *self._work.payload)
        returned = ", ".join(f"{self._table}.{name}" for name in names)
        return text(f"{update} RETURNING {returned}").columns(*(self._work.table.c[name] for name in names))

    def reclaim(self, condition: str) -> TextClause:
        table, work = self._table, self._work
        poisoned = f"{table}.deaths + 1 >= {MAX_DEATHS}"
        settings = (
            f"lease_owner = NULL, lease_until = NULL, claim_seq = {table}.claim_seq + 1, deaths = {table}.deaths + 1,"
            f" status = CASE WHEN {poisoned} THEN '{work.failed}' ELSE {table}.status END,"
            f" {work.error} = CASE WHEN {poisoned} THEN :error ELSE {table}.{work.error} END,"
            f" updated_at = CASE WHEN {poisoned} THEN {self.now} ELSE {table}.updated_at END"
        )
        update = self.update_chosen(settings, condition)
        error = f"{LLMInterrupted.code}: {LLMInterrupted.sentence}"
        return text(f"{update} RETURNING {table}.id, {table}.user_id, {table}.status").bindparams(error=error)

    def finish(self) -> TextClause:
        work = self._work
        columns: dict[str, ColumnType] = {"status": "text", **work.results, **dict.fromkeys(work.source, "text")}
        settings = self._finished("v.{}", self.now)
        return self.update_held(settings, columns, ("id", "user_id", "status"), unchanged=work.source)

    def finish_each(self) -> str:
        """For one row, with the driver's binds: status, results, time, id, fence, source; SQLite only."""
        as_it_was = "".join(f" AND {name} = ?" for name in self._work.source)
        fence = f"id = ? AND claim_seq = ? AND {self._working}{as_it_was}"
        return f"UPDATE {self._table} SET {self._finished('?', '?')} WHERE {fence}"  # noqa: S608

    def _finished(self, given: str, now: str) -> str:
        table, work = self._table, self._work
        values = {name: given.format(name) for name in ("status", *work.results)}
        values |= {name: f"COALESCE({table}.{name}, {values[name]})" for name in values if name in work.kept}
        settings = [f"{name} = {value}" for name, value in values.items()]
        settings += [f"updated_at = {now}", f"claim_seq = {table}.claim_seq + 1"]
        return ", ".join([*settings, "lease_owner = NULL", "lease_until = NULL", "not_before = NULL"])

    def update_held(
        self,
        settings: str,
        columns: Mapping[str, ColumnType],
        returned: tuple[str, ...],
        *,
        unchanged: tuple[str, ...] = (),
    ) -> TextClause:
        """The rows of the bind `:rows`, each under its fence and with the columns that must be as they were."""
        table = self._table
        as_it_was = "".join(f" AND {table}.{name} = v.{name}" for name in unchanged)
        given = rows_as_table({"id": "text", "claim_seq": "bigint", **columns}, on_sqlite=self.on_sqlite)
        # The status as an expression: else the planner may walk a partial index instead of the ids.
        still_working = f"{table}.status || '' = '{self._work.working}'"
        return text(
            f"UPDATE {table} SET {settings} FROM {given}"  # noqa: S608 - names from our own code
            f" WHERE {table}.id = v.id AND {table}.claim_seq = v.claim_seq AND {still_working}{as_it_was}"
            f" RETURNING {', '.join(f'{table}.{name}' for name in returned)}"
        )

    def give_back(self) -> TextClause:
        ready = f"{self._working} AND lease_owner IS NULL AND not_before IS NULL"
        tail = f"SELECT rank + 1 FROM {self._table} WHERE {ready} ORDER BY rank DESC, created_at DESC, id DESC LIMIT 1"  # noqa: S608
        return text(
            f"UPDATE {self._table} SET lease_owner = NULL, lease_until = NULL, claim_seq = claim_seq + 1,"  # noqa: S608
            f" not_before = {self.later}, wait_code = :wait_code, attempt = attempt - :attempts_returned,"
            f" rank = CASE WHEN :to_tail = 1 THEN COALESCE(({tail}), rank) ELSE rank END"
            f" WHERE id = :id AND claim_seq = :claim_seq AND {self._working} RETURNING id"
        )

    def seconds_until_due(self) -> TextClause:
        return text(f"SELECT {self._waits()}")

    def outlook(self) -> TextClause:
        # Ordered as a claim is: else the planner walks through all that wait for one that does not.
        ready = (
            f"SELECT id FROM {self._table} WHERE {self._working} AND lease_owner IS NULL AND not_before IS NULL"  # noqa: S608
            " ORDER BY rank, created_at, id LIMIT 1"
        )
        return text(f"SELECT ({ready}) IS NOT NULL, EXISTS ({orphans_of(self._table)}), {self._waits()}")

    def _waits(self) -> str:
        waiting = f"{self._working} AND lease_owner IS NULL AND not_before IS NOT NULL"
        leased = f"{self._working} AND lease_owner IS NOT NULL"
        return f"{self._next('not_before', waiting)}, {self._next('lease_until', leased)}"

    def _next(self, column: str, condition: str) -> str:
        away = f"(julianday({column}) - julianday(:now)) * 86400.0"
        if not self.on_sqlite:
            away = f"EXTRACT(EPOCH FROM {column} - now())::float8"
        return f"(SELECT {away} FROM {self._table} WHERE {condition} ORDER BY {column} LIMIT 1)"  # noqa: S608
