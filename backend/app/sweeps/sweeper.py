"""Sweeps now and then: batch by batch, with a pause after each, so that nobody waits for it.

One process at a time: SQLite has one writer, on PostgreSQL whoever comes second finds the lock taken and leaves it.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from app import clock
from app.clock import utc_now
from app.database import Database
from app.errors import ServiceUnavailable
from app.sweeps import sweep as sweeping
from app.sweeps.retention import cutoff
from app.sweeps.sweep import Sweep

log = structlog.get_logger()
_HOUR_SECONDS = 3600.0
_FIRST_SECONDS = 60.0
_PAUSE_SECONDS = 0.2
_AT_A_TIME = 200
_LOCK = text("SELECT pg_try_advisory_xact_lock(7325841)")


@asynccontextmanager
async def swept(database: Database, sweeps: Sequence[Sweep]) -> AsyncIterator[None]:
    """In the block, it is swept a minute from now and then every hour."""
    task = asyncio.create_task(_sweep_forever(database, sweeps))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def count_old(database: Database, sweeps: Sequence[Sweep]) -> Mapping[str, int]:
    """What would go now, by the names of the sweeps. Changes nothing."""
    now = utc_now()
    return {
        sweep.name: await database.read(partial(sweeping.count, sweep=sweep, before=cutoff(sweep, now)))
        for sweep in sweeps
    }


async def sweep_all(
    database: Database, sweeps: Sequence[Sweep], *, pause_seconds: float = _PAUSE_SECONDS
) -> Mapping[str, int]:
    """How many rows went, by the names of the sweeps."""
    now = utc_now()
    return {sweep.name: await _sweep(database, sweep, cutoff(sweep, now), pause_seconds) for sweep in sweeps}


async def _sweep(database: Database, sweep: Sweep, before: datetime, pause_seconds: float) -> int:
    gone = 0
    while True:
        keys = await database.read(partial(sweeping.find, sweep=sweep, before=before, limit=_AT_A_TIME))
        if not keys:
            return gone
        removed = await database.write(partial(_remove, sweep=sweep, keys=keys, before=before))
        gone += removed
        if not removed:  # another process is at it
            return gone
        await clock.sleep(pause_seconds)


def _remove(session: Session, sweep: Sweep, keys: Sequence[str], before: datetime) -> int:
    if session.get_bind().dialect.name != "sqlite" and not session.scalar(_LOCK):
        return 0
    return sweeping.remove(session, sweep, keys, before)


async def _sweep_forever(database: Database, sweeps: Sequence[Sweep]) -> None:
    await clock.sleep(_FIRST_SECONDS)
    while True:
        try:
            gone = await sweep_all(database, sweeps)
            if any(gone.values()):
                log.info("sweep.removed_rows", **{name.replace(" ", "_"): rows for name, rows in gone.items() if rows})
        except ServiceUnavailable:
            log.warning("sweep.put_off")
        await clock.sleep(_HOUR_SECONDS)
