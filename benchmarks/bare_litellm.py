"""The bound for real models: instructor over litellm, so many calls in flight, and nothing kept of any of them.

python -m benchmarks.bare_litellm ADDRESS CALLS IN_FLIGHT
"""

import asyncio
import os
import sys
import time
from typing import Any

# Before the import, as the vault does it: no look at the network, no .env.
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"}

import instructor
import litellm
import uvloop

from app.enrichment.schemas import EnrichmentSchema
from benchmarks.places import WORDS
from tests.shipped_prompts import messages_for


async def _run(address: str, calls: int, in_flight: int) -> float:
    """Calls per second, the first ones left out: they open the connections."""
    client: Any = instructor.from_litellm(litellm.acompletion, mode=instructor.Mode.JSON_SCHEMA)
    left = iter(range(calls))

    async def work() -> None:
        for number in left:
            await client.create(
                model="openai/gpt-4o-mini",
                api_base=address,
                api_key="bench",
                response_model=EnrichmentSchema,
                messages=list(messages_for(f"Note {number}. {WORDS}")),
                max_retries=0,
            )

    await client.create(
        model="openai/gpt-4o-mini",
        api_base=address,
        api_key="bench",
        response_model=EnrichmentSchema,
        messages=list(messages_for(WORDS)),
        max_retries=0,
    )
    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return calls / (time.perf_counter() - began)


if __name__ == "__main__":
    print(uvloop.run(_run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
