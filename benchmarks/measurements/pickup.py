"""Pick-up on an idle vault: from the commit of a new item to the call of its provider."""

import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from app.announcements import News
from app.database import Database
from app.items import service
from app.items.schemas import ItemCreate
from benchmarks.figure import Figure, percentile
from benchmarks.places import Place, fill
from benchmarks.run import Run
from benchmarks.spy import spied
from benchmarks.vault import settings

_USER = "00000000-0000-7000-8000-000000000000"
_PAUSE_SECONDS = 0.02, 0.05  # idle again before the next one, and out of step with every poll
_LIMIT_SECONDS = 10
_TARGETS = {"sqlite": 20.0, "postgresql": 10.0}


class _Stopwatch:
    """Pairs the commits of this process with the calls of the worker."""

    def __init__(self) -> None:
        self.committed_at = 0.0
        self._called: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def hear(self, _text: str, at: float) -> None:
        if not self._called.done():
            self._called.set_result(at)

    async def time_one(self, database: Database, text: str) -> float:
        """Milliseconds. News is published right after the commit, and to this listener first."""
        self._called = asyncio.get_running_loop().create_future()
        await database.write(partial(service.create_item, user_id=_USER, request=ItemCreate(raw_text=text)))
        async with asyncio.timeout(_LIMIT_SECONDS):
            return (await self._called - self.committed_at) * 1000

    def note_commit(self, news: News) -> None:
        if news.wakes("items") and not news.anything:
            self.committed_at = time.monotonic()


async def pickup(run: Run) -> list[Figure]:
    """In one process, and from this process to a worker process."""
    figures = []
    for engine in run.engines:
        times = await _in_process(run, engine)
        figures += [
            Figure(f"pick-up p50, {engine}", percentile(times, 0.5), "ms", target=1.0, is_better="less"),
            Figure(f"pick-up p99, {engine}", percentile(times, 0.99), "ms", target=5.0, is_better="less"),
        ]
        times = await _across(run, engine)
        p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
        name = f"pick-up across processes p50, {engine}"
        figures.append(Figure(name, p50, "ms", target=_TARGETS[engine], is_better="less"))
        figures.append(Figure(f"pick-up across processes p99, {engine}", p99, "ms", is_better="less"))
        run.say(f"{engine}: " + ", ".join(f"{figure.value:.2f} ms" for figure in figures[-4:]))
    return figures


async def _in_process(run: Run, engine: str) -> list[float]:
    place = await run.places.fresh(engine)
    await fill(place, 0)
    watch = _Stopwatch()
    async with _writing(place, watch) as database, spied(database, settings(place), watch.hear):
        return await _times(run, database, watch)


async def _across(run: Run, engine: str) -> list[float]:
    place = await run.places.fresh(engine)
    await fill(place, 0)
    watch = _Stopwatch()
    command = [sys.executable, "-m", "benchmarks.spy"]
    environment = {**os.environ, "LITEVAULT_DATABASE_URL": place.url, "LITEVAULT_DATA_DIR": str(place.folder)}
    pipe = asyncio.subprocess.PIPE
    with (place.folder / "worker.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=log, env=environment)
    assert child.stdin is not None and child.stdout is not None
    reading = asyncio.create_task(_read_calls(child.stdout, watch))
    try:
        async with _writing(place, watch) as database:
            # The first one waits for the process to start; it counts as warm-up.
            return await _times(run, database, watch)
    finally:
        child.stdin.close()
        await child.wait()
        await reading


@asynccontextmanager
async def _writing(place: Place, watch: _Stopwatch) -> AsyncIterator[Database]:
    database = Database(place.url)
    await database.start()
    database.noticeboard.subscribe(watch.note_commit)
    yield database
    await database.close()


async def _times(run: Run, database: Database, watch: _Stopwatch) -> list[float]:
    warm_up, times = 10, []
    for number in range(run.size(300, 100) + warm_up):
        times.append(await watch.time_one(database, f"Note {number} for the gardener about the pear trees."))
        await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))
    return times[warm_up:]


async def _read_calls(lines: asyncio.StreamReader, watch: _Stopwatch) -> None:
    while line := await lines.readline():
        at, _, text = line.decode().partition(" ")
        watch.hear(text, float(at))
