"""kill -9 in mid-work: how long until what was in flight is in flight again."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable

import asyncpg

from benchmarks.figure import Figure
from benchmarks.places import Place, fill
from benchmarks.processes import Server, start_vault
from benchmarks.run import Run

_ITEMS = 50
_LIMIT_SECONDS = 60
_COUNT = "SELECT count(*) FROM items WHERE status = 'ENRICHING' AND lease_owner IS NOT NULL AND claim_seq >= {}"


async def restart(run: Run) -> list[Figure]:
    """50 items at a provider that takes 60 s; the process is killed and started anew."""
    figures = []
    lease_seconds = run.size(30, 5)
    for engine in run.engines:
        place = await run.places.fresh(engine)
        await fill(place, _ITEMS)
        boot, after_boot, after_kill = await _killed(place, lease_seconds)
        run.say(f"{engine}: boot {boot:.2f} s, again in flight {after_boot:.2f} s later, {after_kill:.2f} s after kill")
        if engine == "sqlite":
            figures.append(Figure("in flight again after boot, sqlite", after_boot, "s", target=1.0, is_better="less"))
        else:
            limit = lease_seconds + 2.0
            name = f"in flight again after kill, postgresql, lease {lease_seconds} s"
            figures.append(Figure(name, after_kill, "s", target=limit, is_better="less"))
    return figures


async def _killed(place: Place, lease_seconds: int) -> tuple[float, float, float]:
    """Seconds of the boot, from its end until every item runs again, and from the kill until then."""
    first = _start(place, lease_seconds)
    try:
        await _until_leased(place, 1)
    finally:
        first.kill()
    killed_at = time.perf_counter()
    second = _start(place, lease_seconds)
    try:
        boot = await second.wait_ready()
        booted_at = second.spawned_at + boot
        # The fence: one for the first claim, one for the reclaim, one for the claim that we wait for.
        await _until_leased(place, 3)
        again_at = time.perf_counter()
    finally:
        second.kill()
    return boot, max(0.0, again_at - booted_at), again_at - killed_at


def _start(place: Place, lease_seconds: int) -> Server:
    settings = {"llm_concurrency": "100", "llm_stub_delay_seconds": "60", "llm_timeout_seconds": "90"}
    return start_vault(place, worker_lease_seconds=str(lease_seconds), **settings)


async def _until_leased(place: Place, fence: int) -> None:
    count = _count_sqlite if place.engine == "sqlite" else _count_postgres
    await _until(lambda: count(place, _COUNT.format(fence)))


async def _until(count: Callable[[], Awaitable[int]]) -> None:
    async with asyncio.timeout(_LIMIT_SECONDS):
        while await count() < _ITEMS:
            await asyncio.sleep(0.01)


async def _count_sqlite(place: Place, query: str) -> int:
    connection = sqlite3.connect(place.path, timeout=30)
    try:
        return int(connection.execute(query).fetchone()[0])
    finally:
        connection.close()


async def _count_postgres(place: Place, query: str) -> int:
    connection = await asyncpg.connect(place.dsn)
    try:
        return int(await connection.fetchval(query))
    finally:
        await connection.close()
