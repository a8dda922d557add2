"""The bound for the worker: claim a hundred, commit, finish a hundred, commit, and nothing else at all.

No fence, no books, no journal, no wake-up, no slots: what the database itself takes for the same rows.
"""

import sqlite3
import time

import asyncpg
import orjson

from benchmarks.places import Place

_BATCH = 100
_CHOSEN = (
    "SELECT id FROM items WHERE status = 'ENRICHING' AND lease_owner IS NULL AND not_before IS NULL"
    f" ORDER BY rank, created_at, id LIMIT {_BATCH}"
)
_RESULT = {"title": "A title", "summary": "A summary of the note.", "suggestions": '[{"name": "note"}]'}
_SQLITE_CLAIM = f"""UPDATE items SET lease_owner = 'bare', lease_until = '2100-01-01 00:00:00',
    claim_seq = claim_seq + 1 WHERE id IN ({_CHOSEN}) RETURNING id, raw_text"""
_SQLITE_FINISH = """UPDATE items SET status = 'READY_TO_CONFIRM', title = v.title, summary = v.summary,
    suggestions = v.suggestions, lease_owner = NULL, lease_until = NULL FROM (SELECT value ->> '$.id' AS id,
    value ->> '$.title' AS title, value ->> '$.summary' AS summary, value ->> '$.suggestions' AS suggestions
    FROM json_each(?)) AS v WHERE items.id = v.id"""
_POSTGRES_CLAIM = f"""WITH picked AS MATERIALIZED ({_CHOSEN} FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE items SET lease_owner = 'bare', lease_until = '2100-01-01', claim_seq = claim_seq + 1
    FROM picked WHERE items.id = picked.id RETURNING items.id, raw_text"""
_POSTGRES_FINISH = """UPDATE items SET status = 'READY_TO_CONFIRM', title = v.title, summary = v.summary,
    suggestions = v.suggestions::jsonb, lease_owner = NULL, lease_until = NULL
    FROM jsonb_to_recordset($1::text::jsonb) AS v(id text, title text, summary text, suggestions text)
    WHERE items.id = v.id"""


async def drain_bare(place: Place) -> float:
    """Items per second with every waiting row of this place drained."""
    began = time.perf_counter()
    drained = _drain_sqlite(place) if place.engine == "sqlite" else await _drain_postgres(place)
    return drained / (time.perf_counter() - began)


def _drain_sqlite(place: Place) -> int:
    connection = sqlite3.connect(place.path, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    drained = 0
    while True:
        connection.execute("BEGIN IMMEDIATE")
        ids = [row[0] for row in connection.execute(_SQLITE_CLAIM)]
        connection.execute("COMMIT")
        if not ids:
            connection.close()
            return drained
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_SQLITE_FINISH, (_results(ids),))
        connection.execute("COMMIT")
        drained += len(ids)


async def _drain_postgres(place: Place) -> int:
    connection = await asyncpg.connect(place.dsn)
    drained = 0
    while rows := await connection.fetch(_POSTGRES_CLAIM):
        await connection.execute(_POSTGRES_FINISH, _results([row["id"] for row in rows]))
        drained += len(rows)
    await connection.close()
    return drained


def _results(ids: list[str]) -> str:
    return orjson.dumps([{"id": row_id, **_RESULT} for row_id in ids]).decode()
