"""A long queue must cost what a short one costs: claims and drain with many rows waiting, and the plan for it."""

import sqlite3
import time
from functools import partial

import asyncpg
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.database import Database
from app.enrichment.lane import EnrichmentLane
from app.worker import lease
from benchmarks.figure import Figure, percentile
from benchmarks.places import Place, fill
from benchmarks.run import Run
from benchmarks.vault import vault, wait_ended

_SHORT_QUEUE = 1_000
_DRAINED = 5_000
_SLOTS = 100


async def backlog(run: Run) -> list[Figure]:
    """A claim of 50 and the drain of the first rows, with 1,000,000 waiting and with 1,000; --short takes 100,000."""
    figures = []
    long_queue = run.size(1_000_000, 100_000)
    for engine in run.engines:
        short, long = await run.places.fresh(engine), await run.places.fresh(engine)
        await fill(short, _SHORT_QUEUE, users=100)
        began = time.perf_counter()
        await fill(long, long_queue, users=100)
        run.say(f"{engine}: {long_queue:,} rows put in within {time.perf_counter() - began:.0f} s")
        bound, ours = await _claim_ms(short), await _claim_ms(long)
        name = f"claim of 50, {long_queue:,} waiting, {engine}"
        figures.append(Figure(name, ours, "ms", bound, "with 1,000", 1.5, "less", of_bound=True))
        run.say(f"{engine}: a claim takes {ours:.2f} ms, {bound:.2f} ms with 1,000; by {await _index_of_claim(long)}")
        figures.append(await _drained(run, engine, long, long_queue))
    return figures


async def _drained(run: Run, engine: str, long: Place, waiting: int) -> Figure:
    """The short queue holds just what is drained."""
    short = await run.places.fresh(engine)
    await fill(short, _DRAINED, users=100)
    rates = []
    for place in (short, long):
        began = time.perf_counter()
        async with vault(place, slots=_SLOTS) as process:
            await wait_ended(process, _DRAINED - 500)
            rates.append((_DRAINED - 500) / (time.perf_counter() - began))
    run.say(f"{engine}: drains {rates[1]:,.0f} items/s, {rates[0]:,.0f} from a short queue")
    name = f"drain, {waiting:,} waiting, {engine}"
    return Figure(name, rates[1], "items/s", rates[0], f"with {_DRAINED:,}", 0.9, of_bound=True)


async def _claim_ms(place: Place) -> float:
    """The median; the claims are rolled back by giving the rows back."""
    database = Database(place.url)
    await database.start()
    times = []
    for _ in range(50):
        began = time.perf_counter()
        await database.write(
            partial(lease.claim, work=EnrichmentLane.work_table, owner="b", lease_seconds=30, limit=50)
        )
        times.append((time.perf_counter() - began) * 1000)
        await database.write(partial(lease.reclaim, work=EnrichmentLane.work_table, everything=True))
        await _forgive(place)
    await database.close()
    return percentile(times, 0.5)


async def _forgive(place: Place) -> None:
    """A reclaim counts as a death; three are too many."""
    statement = "UPDATE items SET deaths = 0 WHERE deaths > 0 AND status = 'ENRICHING' AND rank < 50"
    if place.engine == "sqlite":
        with sqlite3.connect(place.path, timeout=30) as connection:
            connection.execute(statement)
        connection.close()
        return
    postgres = await asyncpg.connect(place.dsn)
    await postgres.execute(statement)
    await postgres.close()


async def _index_of_claim(place: Place) -> str:
    """The index that the planner takes for the claim as it is sent."""
    database = Database(place.url)
    await database.start()
    plan = await database.write(_explain_claim)
    await database.close()
    assert "ix_items_ready" in plan, plan
    return "ix_items_ready"


def _explain_claim(session: Session) -> str:
    connection = session.connection()
    sent: list[tuple[str, tuple[object, ...]]] = []

    def note(_connection: object, _cursor: object, statement: str, binds: tuple[object, ...], *_: object) -> None:
        sent.append((statement, binds))

    event.listen(connection, "before_cursor_execute", note)
    lease.claim(session, EnrichmentLane.work_table, owner="b", lease_seconds=30, limit=50)
    event.remove(connection, "before_cursor_execute", note)
    statement, binds = sent[0]
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return "\n".join(str(tuple(row)) for row in connection.exec_driver_sql(f"{explain} {statement}", binds))
