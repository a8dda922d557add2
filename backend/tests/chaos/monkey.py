"""Carries out the planned blows, each at its time, and counts what was really done."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from tests.chaos.processes import START_REFUSED, Server
from tests.chaos.scenario import Blow, Planned
from tests.postgres_cluster import PostgresCluster

TERMINATE_SECONDS = 20.0
# A server that was down longer than this is left alone until it is ready again, or a busy machine would only ever see
# starting ones; the others may be struck while they start.
_STRUCK_AGAIN_BELOW_SECONDS = 0.3
_READY_SECONDS = 15.0
_LOOK_SECONDS = 0.1


class Monkey:
    """One blow at a time on each target; a blow on a target that is still down from the last one falls away."""

    def __init__(
        self,
        servers: Sequence[Server],
        cluster: PostgresCluster | None,
        say: Callable[[str], None],
        is_ready: Callable[[Server], Awaitable[bool]],
    ) -> None:
        self._servers, self._cluster, self._say, self._is_ready = servers, cluster, say, is_ready
        self._busy: set[int | None] = set()
        self.done: Counter[Blow] = Counter()
        self.complaints: list[str] = []

    async def rage(self, plan: Sequence[Planned]) -> None:
        """Returns when every blow is over and everything runs again."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        blows = []
        for planned in plan:
            await asyncio.sleep(max(0.0, began + planned.at_seconds - loop.time()))
            blows.append(asyncio.create_task(self._strike(planned)))
        await asyncio.gather(*blows)

    async def _strike(self, planned: Planned) -> None:
        if planned.server in self._busy:
            return
        self._busy.add(planned.server)
        self._say(f"  {planned}")
        self.done[planned.blow] += 1
        try:
            if planned.server is None:
                await self._restart_database("fast" if planned.blow is Blow.DATABASE_FAST else "immediate")
            else:
                await self._strike_server(self._servers[planned.server], planned)
        finally:
            self._busy.discard(planned.server)

    async def _strike_server(self, server: Server, planned: Planned) -> None:
        if planned.blow is Blow.PAUSE:
            server.pause()
            await asyncio.sleep(planned.seconds)
            server.resume()
            return
        if not server.is_running:
            self.supervise(server)
        elif planned.blow is Blow.KILL:
            server.kill()
        elif not await asyncio.to_thread(server.terminate, TERMINATE_SECONDS):
            self.complaints.append(f"{server.name} did not end within {TERMINATE_SECONDS:g} s of SIGTERM")
        await asyncio.sleep(planned.seconds)
        if not server.is_running:
            server.start()
        if planned.seconds >= _STRUCK_AGAIN_BELOW_SECONDS:
            await self._wait_until_ready(server)

    async def _wait_until_ready(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _READY_SECONDS
        while loop.time() < deadline:
            if await self._is_ready(server):
                return
            self.supervise(server)
            await asyncio.sleep(_LOOK_SECONDS)

    def supervise(self, server: Server) -> None:
        """Start it again when it has ended by itself, which it may only do when its database is away at the start."""
        if server.is_running:
            return
        if server.exit_code != START_REFUSED:
            self.complaints.append(f"{server.name} ended by itself with {server.exit_code}")
        server.start()

    async def _restart_database(self, mode: str) -> None:
        if self._cluster is not None:
            await asyncio.to_thread(self._cluster.restart, "fast" if mode == "fast" else "immediate")
