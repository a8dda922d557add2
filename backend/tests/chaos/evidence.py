"""What the oracle judges: the rows of the database, the upstream's book, the clients' log. Plain values.

Invariant: nothing of the application reads here, only SQL: the oracle must not believe what the accused says.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import asyncpg

from tests.chaos.operations import ClientLog
from tests.protocol_server.calls import Call


@dataclass(frozen=True, slots=True)
class ItemRow:
    id: str
    user_id: str
    raw_text: str
    status: str
    title: str | None
    summary: str | None
    claim_seq: int
    lease_owner: str | None
    attempt: int
    deaths: int


@dataclass(frozen=True, slots=True)
class EventRow:
    seq: int
    tx: int
    item_id: str
    user_id: str
    action: str
    actor: str
    from_status: str | None
    status: str
    changes: dict[str, Any] | None
    at: datetime


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """Prices and cost in 1e-12 USD."""

    id: str
    item_id: str
    claim_seq: int
    model: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    input_tokens: int | None
    output_tokens: int | None
    input_price_usd: int | None
    output_price_usd: int | None
    cost_usd: int | None


@dataclass(frozen=True, slots=True)
class KeyRow:
    user_id: str
    key: str
    item_id: str | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings of the run allow: attempts of an item, calls of one claim, deaths of an item."""

    attempts: int
    calls_a_claim: int
    deaths: int = 3


@dataclass
class Evidence:
    """`calls` is None where the provider has no upstream. `users` is their names by their ids."""

    items: dict[str, ItemRow]
    events: list[EventRow]
    attempts: list[AttemptRow]
    keys: list[KeyRow]
    users: dict[str, str]
    log: ClientLog
    limits: Limits
    calls: list[Call] | None = None
    notes: list[str] = field(default_factory=list)

    @cached_property
    def journals(self) -> dict[str, list[EventRow]]:
        """Of each item in the order in which the changes were made: each is written under the row's lock."""
        found: dict[str, list[EventRow]] = defaultdict(list)
        for event in sorted(self.events, key=lambda event: event.seq):
            found[event.item_id].append(event)
        return found

    @cached_property
    def spent(self) -> dict[str, list[AttemptRow]]:
        """The attempts of each item, in order."""
        found: dict[str, list[AttemptRow]] = defaultdict(list)
        for attempt in sorted(self.attempts, key=lambda attempt: (attempt.claim_seq, attempt.id)):
            found[attempt.item_id].append(attempt)
        return found


def _select(table: str, row: type) -> str:
    return f"SELECT {', '.join(field.name for field in fields(row))} FROM {table}"  # noqa: S608 - names from above


_QUERIES = {
    "items": _select("items", ItemRow),
    "events": _select("item_events", EventRow),
    "attempts": _select("llm_attempts", AttemptRow),
    "keys": _select("idempotency_keys", KeyRow),
    "users": "SELECT id, subject FROM users",
}

_COLUMNS = {"rawText": "raw_text"}

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def gather(rows: Rows, log: ClientLog, limits: Limits, calls: list[Call] | None) -> Evidence:
    return Evidence(
        items={row["id"]: ItemRow(**row) for row in rows["items"]},
        events=[
            EventRow(**{**row, "changes": _changes(row["changes"]), "at": _time(row["at"])}) for row in rows["events"]
        ],
        attempts=[AttemptRow(**{**row, **_times(row)}) for row in rows["attempts"]],
        keys=[KeyRow(**row) for row in rows["keys"]],
        users={row["id"]: row["subject"] for row in rows["users"]},
        log=log,
        limits=limits,
        calls=calls,
    )


async def read_rows(url: str) -> Rows:
    """All that the oracle wants, in one transaction."""
    if url.startswith("sqlite"):
        return _read_sqlite(url.partition("///")[2])
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return {name: [dict(row) for row in await connection.fetch(query)] for name, query in _QUERIES.items()}
    finally:
        await connection.close()


async def count_unsettled(url: str) -> tuple[int, int]:
    """Items still in work, attempts still open."""
    query = (
        "SELECT (SELECT count(*) FROM items WHERE status = 'ENRICHING') AS working,"
        " (SELECT count(*) FROM llm_attempts WHERE outcome IS NULL) AS open"
    )
    if url.startswith("sqlite"):
        connection = _connect_sqlite(url.partition("///")[2])
        try:
            row = connection.execute(query).fetchone()
        finally:
            connection.close()
    else:
        server = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=5)
        try:
            row = await server.fetchrow(query)
        finally:
            await server.close()
    return row["working"], row["open"]


def _connect_sqlite(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    connection.row_factory = sqlite3.Row
    return connection


def _read_sqlite(path: str) -> Rows:
    connection = _connect_sqlite(path)
    try:
        connection.execute("BEGIN")
        return {name: [dict(row) for row in connection.execute(query)] for name, query in _QUERIES.items()}
    finally:
        connection.close()


def _changes(value: str | dict[str, Any] | None) -> dict[str, Any] | None:
    """The journal names the fields as the wire does; here they have the names of their columns."""
    if value is None:
        return None
    found = json.loads(value) if isinstance(value, str) else value
    return {_COLUMNS.get(name, name): change for name, change in found.items()}


def _times(row: Mapping[str, Any]) -> dict[str, datetime | None]:
    ended_at = row["ended_at"]
    return {"started_at": _time(row["started_at"]), "ended_at": None if ended_at is None else _time(ended_at)}


def _time(value: datetime | str) -> datetime:
    """SQLite keeps a time as text without a zone."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
