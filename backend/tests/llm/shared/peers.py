"""Processes on one database: each with a connection, newswire and gateway of its own, on one protocol server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from app import clock
from app.database import Database
from app.newswire import Newswire
from tests.llm.gateway_calls import Door, door
from tests.protocol_server.server import ProtocolServer


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[Database]:
    """As a process of its own has it."""
    database = Database(database_url)
    await database.start()
    newswire = Newswire(database)
    newswire.start()
    try:
        yield database
    finally:
        await newswire.close()
        await database.close()


@asynccontextmanager
async def peers(number: int, database_url: str, upstream: ProtocolServer, **options: Any) -> AsyncIterator[list[Door]]:
    """`options` are those of `door`."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(number):
            database = await stack.enter_async_context(connected(database_url))
            found.append(await stack.enter_async_context(door(upstream, database=database, **options)))
        yield found


async def until(condition: Callable[[], bool], *, seconds: float = 20) -> float:
    """The seconds that it took. Raises TimeoutError."""
    began = clock.local_seconds()
    async with asyncio.timeout(seconds):
        while not condition():
            await clock.sleep(0.005)
    return clock.local_seconds() - began


def most_in_a_window(times: Iterable[float], seconds: float) -> int:
    """The largest number of these moments that any window of this length holds."""
    moments = sorted(times)
    return max((sum(begin <= at < begin + seconds for at in moments) for begin in moments), default=0)
