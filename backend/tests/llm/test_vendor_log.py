"""The vendors' import leaves our own logging alone."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from app.llm.vendors.logs import filters_kept_out

BACKEND = Path(__file__).resolve().parents[2]
# In a process of its own: in this one litellm may have been imported long ago.
START_AND_COUNT = """
import asyncio, logging
from app.config import LLMSettings
from app.llm.vendors.client import LLMClient

async def main():
    client = LLMClient(LLMSettings())
    await client.start()
    await client.close()

asyncio.run(main())
print(sum(len(logging.getLogger(name).filters) for name in ("asyncio", "uvicorn.error", "uvicorn.access")))
"""


def test_a_filter_is_taken_again_after_the_block() -> None:
    logger = logging.getLogger("asyncio")
    with filters_kept_out():
        logger.addFilter(bool)
        assert bool not in logger.filters
    logger.addFilter(bool)
    assert bool in logger.filters
    logger.removeFilter(bool)


@pytest.mark.slow
def test_no_filter_of_litellm_stands_before_asyncios_and_uvicorns_lines() -> None:
    command = [sys.executable, "-c", START_AND_COUNT]
    done = subprocess.run(command, cwd=BACKEND, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "0", done.stderr[-500:]
