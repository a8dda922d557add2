"""The bound for the API: FastAPI, one validated body, one insert, one durable commit a request, and nothing else."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiosqlite
import orjson
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from uuid_utils import uuid7

_TABLE = """CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, user_id TEXT, raw_text TEXT, status TEXT,
    title TEXT, summary TEXT, suggestions TEXT, created_at TEXT)"""
_INSERT = "INSERT INTO items (id, user_id, raw_text, status, created_at) VALUES (?, ?, ?, ?, ?)"
_PENDING = """SELECT id, user_id, raw_text, status, title, summary, suggestions, created_at FROM items
    WHERE user_id = ? ORDER BY created_at DESC LIMIT 20"""


class NewItem(BaseModel):
    rawText: str  # noqa: N815 - as on the wire
    enrich: bool = True


class BareItem(BaseModel):
    id: str
    rawText: str  # noqa: N815
    status: str
    createdAt: str  # noqa: N815


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with aiosqlite.connect(os.environ["BARE_FILE"]) as connection:
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", _TABLE):
            await connection.execute(statement)
        app.state.connection, app.state.lock = connection, asyncio.Lock()
        yield


app = FastAPI(lifespan=_lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/api/v1/items", status_code=201)
async def create_item(body: NewItem, request: Request) -> BareItem:
    """Two requests cannot share the connection's transaction: hence the lock."""
    item = BareItem(id=str(uuid7()), rawText=body.rawText, status="ENRICHING", createdAt=datetime.now(UTC).isoformat())
    user_id = request.headers["x-dev-user-id"]
    async with request.app.state.lock:
        connection: aiosqlite.Connection = request.app.state.connection
        await connection.execute(_INSERT, (item.id, user_id, item.rawText, item.status, item.createdAt))
        await connection.commit()
    return item


@app.get("/api/v1/items/pending")
async def pending_items(request: Request) -> Response:
    connection: aiosqlite.Connection = request.app.state.connection
    names = ("id", "userId", "rawText", "status", "title", "summary", "suggestions", "createdAt")
    rows = await connection.execute_fetchall(_PENDING, (request.headers["x-dev-user-id"],))
    items = [dict(zip(names, row, strict=True)) for row in rows]
    return Response(orjson.dumps({"items": items, "total": len(items)}), media_type="application/json")
