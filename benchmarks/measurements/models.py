"""The road to real models, litellm and instructor, on a provider that takes 200 ms; and what the API feels of it."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.load import Answers, Load, generate
from benchmarks.places import Place, fill
from benchmarks.processes import ready, start_vault
from benchmarks.run import Run

_LATENCY_SECONDS = "0.2"
_SLOTS = 100
_LIMIT_SECONDS = 180
_POLL = "/api/v1/items/pending?limit=20"
_SPAN = "SELECT count(*), min(started_at), max(ended_at) FROM llm_attempts WHERE outcome = 'OK'"


async def models(run: Run) -> list[Figure]:
    """Calls a second beside `instructor.from_litellm(acompletion)` with 100 in flight; pending polled over HTTP."""
    calls = run.size(1_500, 600)
    async with _upstream() as address:
        bound = await _bare_rate(address, calls)
        run.say(f"the bare loop makes {bound:,.0f} calls/s")
        rate, polled = await _vault_rate(run, address, calls)
    run.say(f"the vault {rate:,.0f} items/s; pending p50 {polled.p50:.1f} ms, p99 {polled.p99:.1f} ms")
    return [
        Figure("litellm + instructor, 200 ms, 100 slots", rate, "items/s", bound, "bare loop", 0.9, of_bound=True),
        Figure("pending meanwhile, p50", polled.p50, "ms", is_better="less"),
        Figure("pending meanwhile, p99", polled.p99, "ms", target=50, is_better="less"),
    ]


@asynccontextmanager
async def _upstream() -> AsyncIterator[str]:
    """The protocol server in a process of its own."""
    command = [sys.executable, "-m", "tests.protocol_server", "--latency", _LATENCY_SECONDS]
    backend = Path(__file__).resolve().parents[2] / "backend"
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=backend)
    assert child.stdout is not None
    try:
        async with asyncio.timeout(30):
            address = (await child.stdout.readline()).decode().split()[-1]
        yield address
    finally:
        child.terminate()
        await child.wait()


async def _bare_rate(address: str, calls: int) -> float:
    command = [sys.executable, "-m", "benchmarks.bare_litellm", address, str(calls), str(_SLOTS)]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    return float(output)


async def _vault_rate(run: Run, address: str, calls: int) -> tuple[float, Answers]:
    place = await run.places.fresh("sqlite")
    await fill(place, calls)
    llm = {"llm_provider": "litellm", "llm_api_base": address, "llm_concurrency": str(_SLOTS)}
    server = start_vault(place, **llm, llm_model="openai/gpt-4o-mini", OPENAI_API_KEY="bench")
    async with ready(server):
        await _until_answered(place, 1)
        polling = asyncio.create_task(generate(Load(server.port, _POLL, clients=2, pause=0.02, seconds=run.size(6, 3))))
        await _until_answered(place, calls)
        return _rate(place), await polling


async def _until_answered(place: Place, calls: int) -> None:
    async with asyncio.timeout(_LIMIT_SECONDS):
        while _span(place)[0] < calls:
            await asyncio.sleep(0.1)


def _rate(place: Place) -> float:
    """From the first call's start to the last one's end."""
    count, first, last = _span(place)
    return count / (datetime.fromisoformat(str(last)) - datetime.fromisoformat(str(first))).total_seconds()


def _span(place: Place) -> tuple[int, str | None, str | None]:
    connection = sqlite3.connect(place.path, timeout=30)
    try:
        count, first, last = connection.execute(_SPAN).fetchone()
        return int(count), first, last
    finally:
        connection.close()
