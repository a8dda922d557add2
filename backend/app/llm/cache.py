"""Answers that are given again instead of being asked for: in memory, over a table, one flight for equal calls.

Invariants: a key covers everything that shapes an answer, the person included, so nobody is given what was made from
another one's text; only whole, checked answers are kept.

Equal calls that come together wait for the first. If that one fails, its fault is theirs as well: each trying again by
itself would turn one call to a broken provider into a hundred. Only what is the first one's own (its caller left, its
lease is lost, its deadline was shorter, its budget is spent) makes the next of them take its place.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any

import orjson
import structlog
from cachetools import LRUCache
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from app import clock
from app.clock import utc_now
from app.database import Database
from app.errors import LLMBudgetExceeded, LLMError, LLMTimeout, ServiceUnavailable
from app.llm.attempts import Saved
from app.llm.cache_model import CachedAnswer

log = structlog.get_logger(__name__)
_MEMORY_BYTES = 32_000_000
_MOST_UNWRITTEN = 10_000


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it is kept: JSON, who gave it, and what it took."""

    answer: str = field(repr=False)
    provider: str
    model: str
    coverage: float
    saved: Saved
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Slot:
    """Where an answer of this call belongs. `user_id` None: it holds nothing of a person."""

    key: str
    task: str
    user_id: str | None
    seconds: float


def key_of(*shapes: Any) -> str:  # noqa: ANN401 - anything that can be written as JSON
    """The digest of everything that shapes an answer."""
    return sha256(orjson.dumps(shapes, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()


class AnswerCache:
    """Of a process; without a database it keeps in memory only."""

    def __init__(self, database: Database | None) -> None:
        self._database = database
        self._memory: LRUCache[str, Kept] = LRUCache(_MEMORY_BYTES, getsizeof=lambda kept: len(kept.answer) + 500)
        self._flights: dict[str, asyncio.Future[Kept]] = {}
        self._unwritten: list[dict[str, Any]] = []
        self._writing: asyncio.Task[None] | None = None
        # hits, misses, shared (waited for an equal call), saved_tokens
        self.counts: Counter[str] = Counter()

    async def through(self, slot: Slot, fly: Callable[[], Awaitable[Kept]], deadline: float) -> tuple[Kept, bool]:
        """The answer, and whether it was there already. `fly` asks for it; what it raises is raised."""
        while True:
            flight = self._flights.get(slot.key)
            if flight is None:
                break
            shared = await _outcome_of(flight, deadline - clock.local_seconds())
            if isinstance(shared, LLMError):
                raise shared
            if shared is not None:
                return self._given(shared, "shared"), True
        return await self._lead(slot, fly)

    def keep(self, slot: Slot, kept: Kept) -> None:
        """In memory at once, in the table soon."""
        self._memory[slot.key] = kept
        if self._database is None or len(self._unwritten) >= _MOST_UNWRITTEN:
            return
        self._unwritten.append(_row(slot, kept))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(self._database))

    async def close(self) -> None:
        """Write what is waiting. Safe to repeat."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def _lead(self, slot: Slot, fly: Callable[[], Awaitable[Kept]]) -> tuple[Kept, bool]:
        flight = self._flights[slot.key] = asyncio.get_running_loop().create_future()
        flight.add_done_callback(_look_at)
        try:
            known = await self._find(slot.key)
            kept = known or await fly()
            flight.set_result(kept)
        except LLMError as fault:
            flight.set_exception(fault)
            raise
        finally:
            del self._flights[slot.key]
            flight.cancel()  # where neither happened; without effect otherwise
        if known is not None:
            return self._given(kept, "hits"), True
        self.counts["misses"] += 1
        return kept, False

    def _given(self, kept: Kept, how: str) -> Kept:
        self.counts.update({how: 1, "saved_tokens": kept.saved.tokens})
        return kept

    async def _find(self, key: str) -> Kept | None:
        kept = self._memory.get(key)
        if kept is None and self._database is not None:
            try:
                kept = await self._database.read(partial(_read, key=key))
            except ServiceUnavailable:
                return None  # the call itself will tell, if it needs the database
            if kept is not None:
                self._memory[key] = kept
        return kept if kept is not None and kept.expires_at > utc_now() else None

    async def _write(self, database: Database) -> None:
        while self._unwritten:
            rows, self._unwritten = self._unwritten, []
            try:
                await database.write(partial(_replace, rows=rows))
            except ServiceUnavailable:
                log.warning("llm_cache.not_written", answers=len(rows))


async def _outcome_of(flight: asyncio.Future[Kept], seconds: float) -> Kept | LLMError | None:
    """What came of another one's call; None when this caller is to try for itself."""
    await asyncio.wait({flight}, timeout=max(0.0, seconds))
    if not flight.done():
        return LLMTimeout()
    if flight.cancelled():
        return None
    fault = flight.exception()
    if fault is None:
        return flight.result()
    if isinstance(fault, LLMTimeout | LLMBudgetExceeded) or not isinstance(fault, LLMError):
        return None
    return _copy_of(fault)


def _copy_of(fault: LLMError) -> LLMError:
    """Whoever gets it may change its remedy. Past its constructor: each kind has one of its own."""
    copied = type(fault).__new__(type(fault), *fault.args)
    vars(copied).update(vars(fault))
    return copied


def _look_at(flight: asyncio.Future[Kept]) -> None:
    """That nobody else was waiting for a fault is no news."""
    if not flight.cancelled():
        flight.exception()


def _row(slot: Slot, kept: Kept) -> dict[str, Any]:
    return {
        "key": slot.key,
        "task": slot.task,
        "user_id": slot.user_id,
        "provider": kept.provider,
        "model": kept.model,
        "answer": kept.answer,
        "coverage": kept.coverage,
        "tokens": kept.saved.tokens,
        "cost_usd": kept.saved.cost_usd,
        "created_at": utc_now(),
        "expires_at": kept.expires_at,
    }


def _read(session: Session, *, key: str) -> Kept | None:
    row = session.scalars(select(CachedAnswer).where(CachedAnswer.key == key)).one_or_none()
    if row is None:
        return None
    saved = Saved(row.tokens, row.cost_usd)
    return Kept(row.answer, row.provider, row.model, row.coverage, saved, row.expires_at)


def _replace(session: Session, *, rows: list[dict[str, Any]]) -> None:
    """The latest of each key; equal calls of another process may have written one."""
    latest = {row["key"]: row for row in rows}
    session.execute(delete(CachedAnswer).where(CachedAnswer.key.in_(latest)))
    session.execute(insert(CachedAnswer), list(latest.values()))


def forget_expired(session: Session) -> None:
    session.execute(delete(CachedAnswer).where(CachedAnswer.expires_at < utc_now()))


def expiry(seconds: float) -> datetime:
    return utc_now() + timedelta(seconds=seconds)
