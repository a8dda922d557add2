"""Drain without model latency, and how much of a slow provider's time is used: 100 slots on a hundred."""

import time

from benchmarks.bare_queue import drain_bare
from benchmarks.figure import Figure
from benchmarks.places import fill
from benchmarks.run import Run
from benchmarks.vault import ended, vault, wait_ended

_TARGETS = {"sqlite": 10_000, "postgresql": 8_000}
_DELAY_SECONDS = 0.2
_SLOTS = 100


async def drain(run: Run) -> list[Figure]:
    """Rows waiting beforehand, the stub without delay, logs at their default level into a file."""
    figures = []
    for engine in run.engines:
        items = run.size(40_000, 10_000)
        bare = await run.places.fresh(engine)
        await fill(bare, items)
        bound = await drain_bare(bare)
        run.say(f"{engine}: the bare loop drains {bound:,.0f} items/s")
        rate = await drain_rate(run, engine, items)
        run.say(f"{engine}: the worker drains {rate:,.0f} items/s")
        figures.append(Figure(f"drain, {engine}", rate, "items/s", bound, "bare loop", _TARGETS[engine]))
    return figures


async def drain_rate(run: Run, engine: str, items: int) -> float:
    """From the start of the worker to the last item's end."""
    place = await run.places.fresh(engine)
    await fill(place, items)
    began = time.perf_counter()
    async with vault(place, slots=_SLOTS) as process:
        await wait_ended(process, items)
        return items / (time.perf_counter() - began)


async def efficiency(run: Run) -> list[Figure]:
    """100 slots on a provider that takes 200 ms can do 500 a second, and not one more."""
    figures = []
    for engine in run.engines:
        items = run.size(5_000, 2_000)
        place = await run.places.fresh(engine)
        await fill(place, items)
        async with vault(place, slots=_SLOTS, delay=_DELAY_SECONDS) as process:
            # The start is another figure: from the end of the first hundred on.
            await wait_ended(process, _SLOTS)
            began, first = time.perf_counter(), ended(process)
            await wait_ended(process, items)
            rate = (items - first) / (time.perf_counter() - began)
        run.say(f"{engine}: {rate:,.1f} items/s")
        bound = _SLOTS / _DELAY_SECONDS
        name = f"200 ms provider, 100 slots, {engine}"
        figures.append(Figure(name, rate, "items/s", bound, "slots / latency", 0.98, of_bound=True))
    return figures
