"""Carries out the planned blows, each at its time, and counts what was really done."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from tests.chaos.processes import Process
from tests.chaos.scenario import Blow, Planned
from tests.postgres_cluster import PostgresCluster

TERMINATE_SECONDS = 20.0


class Monkey:
    """One blow at a time on each target; a blow on a target that is still down from the last one falls away."""

    def __init__(self, servers: Sequence[Process], cluster: PostgresCluster | None, say: Callable[[str], None]) -> None:
        self._servers, self._cluster, self._say = servers, cluster, say
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
        try:
            if planned.server is None:
                await self._restart_database("fast" if planned.blow is Blow.DATABASE_FAST else "immediate")
            else:
                await self._strike_server(self._servers[planned.server], planned)
            self.done[planned.blow] += 1
        finally:
            self._busy.discard(planned.server)

    async def _strike_server(self, server: Process, planned: Planned) -> None:
        if planned.blow is Blow.PAUSE:
            server.pause()
            await asyncio.sleep(planned.seconds)
            server.resume()
            return
        if not server.is_running:
            self.complaints.append(f"{server.name} had died by itself")
        elif planned.blow is Blow.KILL:
            server.kill()
        elif not await asyncio.to_thread(server.terminate, TERMINATE_SECONDS):
            self.complaints.append(f"{server.name} did not end within {TERMINATE_SECONDS:g} s of SIGTERM")
        await asyncio.sleep(planned.seconds)
        server.start()

    async def _restart_database(self, mode: str) -> None:
        if self._cluster is not None:
            await asyncio.to_thread(self._cluster.restart, "fast" if mode == "fast" else "immediate")
