"""One person imports ten thousand notes, another captures one: who waits for whom."""

import asyncio
import time
from functools import partial

from app.database import Database
from app.items import service
from app.items.schemas import ItemCreate
from benchmarks.figure import Figure
from benchmarks.places import fill
from benchmarks.run import Run
from benchmarks.spy import spied
from benchmarks.vault import settings

_OTHER = "00000000-0000-7000-8000-000000000001"
_SLOTS = 20
_DELAY_SECONDS = 0.05
_SETTLED_SECONDS = 2.0
_TEXT = "The one note of the other person."


async def fairness(run: Run) -> list[Figure]:
    """The waiting time of the one, beside that of first come, first served at the rate of this run."""
    figures = []
    imported = run.size(10_000, 5_000)
    for engine in run.engines:
        waited, before, rate, left = await _post_into_import(run, engine, imported)
        # First come, first served: all that was left of the import goes first.
        in_turn = left / rate
        run.say(f"{engine}: waited {waited * 1000:.0f} ms behind {before} items; in turn {in_turn:.0f} s behind {left}")
        name = f"wait behind an import of {imported:,}, {engine}"
        figures.append(Figure(name, waited, "s", in_turn, "in turn", 1.3, "less"))
        figures.append(Figure(f"started before it, {engine}", before, "items", left, "in turn", 2.0 * _SLOTS, "less"))
    return figures


async def _post_into_import(run: Run, engine: str, imported: int) -> tuple[float, int, float, int]:
    """Seconds waited, items started meanwhile, the rate until then, and what was left of the import."""
    place = await run.places.fresh(engine)
    await fill(place, 0, users=2)
    await fill(place, imported, users=1)
    calls: list[tuple[str, float]] = []
    database = Database(place.url)
    await database.start()
    try:
        async with spied(
            database, settings(place, slots=_SLOTS, delay=_DELAY_SECONDS), lambda *call: calls.append(call)
        ):
            began = time.monotonic()
            await asyncio.sleep(_SETTLED_SECONDS)
            rate, left = len(calls) / (time.monotonic() - began), imported - len(calls)
            await database.write(partial(service.create_item, user_id=_OTHER, request=ItemCreate(raw_text=_TEXT)))
            posted_at = time.monotonic()
            called_at = await _called(calls)
    finally:
        await database.close()
    before = sum(1 for text, at in calls if posted_at <= at < called_at and text != _TEXT)
    return max(0.0, called_at - posted_at), before, rate, left


async def _called(calls: list[tuple[str, float]]) -> float:
    async with asyncio.timeout(60):
        while True:
            for text, at in reversed(calls):
                if text == _TEXT:
                    return at
            await asyncio.sleep(0.01)
