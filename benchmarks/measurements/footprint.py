"""What the vault costs while nothing happens: cold start, memory, idle CPU and statements; and growth by work."""

import asyncio
import os
import time
from pathlib import Path

from sqlalchemy import Engine, event

from app.main import running
from benchmarks.figure import Figure
from benchmarks.places import fill
from benchmarks.processes import Server, ready, start_bare, start_vault
from benchmarks.run import Run
from benchmarks.vault import settings, wait_ended

_STARTS = 3
_SETTLE_SECONDS = 3


async def footprint(run: Run) -> list[Figure]:
    """On SQLite; the bound of the cold start is the bare FastAPI application of the API's measurement."""
    figures = await _cold_starts(run)
    figures += await _idle(run)
    figures.append(await _idle_statements(run))
    figures.append(await _growth(run))
    return figures


async def _cold_starts(run: Run) -> list[Figure]:
    times: dict[str, list[float]] = {"stub": [], "litellm": [], "bare": []}
    for _ in range(_STARTS + 1):
        for kind, seen in times.items():
            place = await run.places.fresh("sqlite")
            environment = {"llm_provider": kind, "OPENAI_API_KEY": "bench"} if kind == "litellm" else {}
            server = start_bare(place) if kind == "bare" else start_vault(place, **environment)
            try:
                seen.append(await server.wait_ready())
            finally:
                await asyncio.to_thread(server.end)
        run.say("cold start: " + ", ".join(f"{kind} {seen[-1]:.2f} s" for kind, seen in times.items()))
    # The first one compiles the modules, which a machine does once.
    middle = {kind: sorted(seen[1:])[_STARTS // 2] for kind, seen in times.items()}
    return [
        Figure(f"cold start, {kind}", middle[kind], "s", middle["bare"], "bare FastAPI", 1.2, "less")
        for kind in ("stub", "litellm")
    ]


async def _idle(run: Run) -> list[Figure]:
    place = await run.places.fresh("sqlite")
    async with ready(start_vault(place)) as server:
        await asyncio.sleep(_SETTLE_SECONDS)
        memory = server.rss_megabytes()
        share = await _cpu_percent(server, run.size(20, 10))
    run.say(f"idle: {memory:.0f} MB, {share:.2f} % of a core")
    return [
        Figure("idle memory, stub", memory, "MB", target=110, is_better="less"),
        Figure("idle CPU, worker and newswire on", share, "%", target=0.5, is_better="less"),
    ]


async def _cpu_percent(server: Server, seconds: int) -> float:
    before, began = server.cpu_seconds(), time.perf_counter()
    await asyncio.sleep(seconds)
    return (server.cpu_seconds() - before) / (time.perf_counter() - began) * 100


async def _idle_statements(run: Run) -> Figure:
    """Statements through the engines; the look at SQLite's `data_version` reads a counter and is none."""
    seconds = run.size(20, 10)
    place = await run.places.fresh("sqlite")
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1

    event.listen(Engine, "before_cursor_execute", count)
    try:
        async with running(settings(place), with_worker=True):
            await asyncio.sleep(_SETTLE_SECONDS)
            seen = 0
            await asyncio.sleep(seconds)
            rate = seen / seconds
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    return Figure("idle statements", rate, "/s", target=2, is_better="less")


async def _growth(run: Run) -> Figure:
    """Resident memory of this process after the first quarter of the items and after the last."""
    items = run.size(20_000, 8_000)
    place = await run.places.fresh("sqlite")
    await fill(place, items)
    async with running(settings(place, slots=100), with_worker=True) as process:
        await wait_ended(process, items // 4)
        before = _own_rss()
        await wait_ended(process, items)
        grown = _own_rss() - before
    run.say(f"growth over {items - items // 4:,} items: {grown:.1f} MB")
    return Figure(f"growth over {items - items // 4:,} items", grown, "MB", target=10, is_better="less")


def _own_rss() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
