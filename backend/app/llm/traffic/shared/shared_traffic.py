"""What a process shares of its traffic with the others on its database, put together."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from app.database import Database
from app.llm.traffic.gate import ProviderGate
from app.llm.traffic.shared.gate_keeper import SharedGates
from app.llm.traffic.shared.share_keeper import Pace, SharedLimits
from app.providers.provider import Provider
from app.providers.traffic import Traffic


class SharedTraffic:
    """Nothing is shared but while it is `running`."""

    def __init__(
        self,
        database: Database,
        gate: ProviderGate,
        providers: Callable[[], Mapping[str, Provider]],
        minute_seconds: float,
    ) -> None:
        self.gates = SharedGates(database, gate, providers)
        self.limits = SharedLimits(database, Pace(minute_seconds))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.gates.running(), self.limits.running():
            yield

    def shown_in(self, traffic: Traffic, provider: str) -> Traffic:
        """The same, with what is shared."""
        gate = replace(traffic.gate, is_shared=self.gates.is_shared)
        return replace(traffic, gate=gate, limits=self.limits.state_of(provider))
