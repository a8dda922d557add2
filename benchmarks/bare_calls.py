"""The bounds of the gateway: the same calls without one, by the openai SDK or by litellm in the caller's own process.

python -m benchmarks.bare_calls sdk|litellm ADDRESS MODEL '{"clients": 100, "rate": 0, "seconds": 5, "body": …}'
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import orjson
import uvloop

# Before the import, as the vault does it: no look at the network, no .env.
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"}

from benchmarks.figure import percentile
from benchmarks.load import NUMBER

Ask = Callable[[str], Awaitable[Any]]
_WARM_UP_CALLS = 20


def _sdk(address: str, model: str) -> Ask:
    from openai import AsyncOpenAI  # noqa: PLC0415 - one of the two is enough

    client = AsyncOpenAI(base_url=address, api_key="bench", max_retries=0)

    async def ask(text: str) -> None:
        await client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])

    return ask


def _litellm(address: str, model: str) -> Ask:
    import litellm  # noqa: PLC0415

    litellm.suppress_debug_info = True
    known: dict[str, Any] = {"model": f"openai/{model}", "api_base": address, "api_key": "bench", "max_retries": 0}

    async def ask(text: str) -> None:
        await litellm.acompletion(messages=[{"role": "user", "content": text}], **known)

    return ask


class _Caller:
    def __init__(self, ask: Ask, text: str) -> None:
        self._ask, self._text, self._numbers = ask, text, count()
        self.times: list[float] = []

    async def once(self) -> None:
        number = f"{next(self._numbers):0{len(NUMBER)}}"
        began = time.perf_counter()
        await self._ask(self._text.replace(NUMBER, number))
        self.times.append((time.perf_counter() - began) * 1000)

    async def in_turn(self, clients: int, seconds: float) -> None:
        ends = time.perf_counter() + seconds

        async def work() -> None:
            while time.perf_counter() < ends:
                await self.once()

        await asyncio.gather(*(work() for _ in range(clients)))

    async def on_time(self, rate: float, seconds: float) -> None:
        under_way = []
        for _ in range(int(rate * seconds)):
            under_way.append(asyncio.create_task(self.once()))
            await asyncio.sleep(1 / rate)
        await asyncio.gather(*under_way)


async def _run(ask: Ask, load: dict[str, Any]) -> dict[str, Any]:
    caller = _Caller(ask, load["body"])
    await asyncio.gather(*(caller.once() for _ in range(_WARM_UP_CALLS)))
    caller.times.clear()
    began, cpu_began = time.perf_counter(), time.process_time()
    if load["rate"]:
        await caller.on_time(load["rate"], load["seconds"])
    else:
        await caller.in_turn(load["clients"], load["seconds"])
    times = caller.times
    return {
        "rate": len(times) / (time.perf_counter() - began),
        "p50": percentile(times, 0.5),
        "p99": percentile(times, 0.99),
        "worst": max(times),
        "cpu": (time.process_time() - cpu_began) / len(times) * 1000,
    }


async def _main(kind: str, address: str, model: str, *, load: dict[str, Any]) -> dict[str, Any]:
    return await _run({"sdk": _sdk, "litellm": _litellm}[kind](address, model), load)


if __name__ == "__main__":
    _, kind, *where, load = sys.argv
    print(orjson.dumps(uvloop.run(_main(kind, *where, load=orjson.loads(load)))).decode())
