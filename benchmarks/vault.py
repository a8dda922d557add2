"""The vault in this process: the database and the worker as `app.main` builds them, and a view of what they do."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.config import LLMSettings, Settings
from app.main import Process, running
from benchmarks.places import Place


def settings(place: Place, *, slots: int = 100, delay: float = 0.0, **llm: Any) -> Settings:  # noqa: ANN401
    """The defaults of a server, but for the database, the slots and the provider."""
    chosen = {"concurrency": slots, "stub_delay_seconds": delay, **llm}
    return Settings(database_url=place.url, data_dir=place.folder, llm=LLMSettings(**chosen))


@asynccontextmanager
async def vault(place: Place, **options: Any) -> AsyncIterator[Process]:  # noqa: ANN401
    async with running(settings(place, **options), with_worker=True) as process:
        yield process


def ended(process: Process) -> int:
    """How many items this process has finished."""
    assert process.crew is not None
    return sum(worker.counts["READY_TO_CONFIRM"] for worker in process.crew.workers)


async def wait_ended(process: Process, items: int, *, seconds: float = 600) -> None:
    """Until `items` are finished; looks rarely enough not to be felt."""
    limit = time.perf_counter() + seconds
    while ended(process) < items:
        if time.perf_counter() > limit:
            raise TimeoutError(f"{ended(process)} of {items} items ended within {seconds} s")
        await asyncio.sleep(0.005)
