"""An answer that is there already: what it takes to give it again, in process, with the books."""

import asyncio
import time
from dataclasses import replace

from app.llm.call import CacheScope, Call, Parameters, Spender
from benchmarks.figure import Figure, percentile
from benchmarks.places import WORDS
from benchmarks.run import Run
from benchmarks.vault import vault

_CALL = Call(
    task="image_prompt",  # a task whose answers are kept
    prompt=({"role": "user", "content": WORDS},),
    spender=Spender(user_id="person-0", lane="chat"),
    deadline_seconds=10,
    parameters=Parameters(max_tokens=200),
    cache=CacheScope.PERSON,
)
_DIFFERENT = 50
# One after the other without a pause would measure how long the books take to write them all.
_PAUSE_SECONDS = 0.002


async def cached(run: Run) -> list[Figure]:
    """Milliseconds for a cached answer through the gateway, from memory."""
    place = await run.places.fresh("sqlite")
    calls = [replace(_CALL, prompt=({"role": "user", "content": f"{n}. {WORDS}"},)) for n in range(_DIFFERENT)]
    times = []
    async with vault(place) as process:
        gateway = process.calling.gateway
        for call in calls:
            await gateway.complete(call)
        for number in range(run.size(5_000, 1_000)):
            await asyncio.sleep(_PAUSE_SECONDS)
            began = time.perf_counter()
            completion = await gateway.complete(calls[number % _DIFFERENT])
            times.append((time.perf_counter() - began) * 1000)
            assert completion.receipt.cached
    run.say(f"worst {max(times):.2f} ms")
    return [
        Figure("a cached answer, p50", percentile(times, 0.5), "ms", target=3, is_better="less"),
        Figure("a cached answer, p99", percentile(times, 0.99), "ms", target=3, is_better="less"),
    ]
