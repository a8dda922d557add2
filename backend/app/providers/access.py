"""The providers of a process, put together: what starts and stops with it, and what the routes ask."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.config import Settings
from app.database import Database
from app.providers.addresses import AddressPolicy
from app.providers.credentials.vault import Vault
from app.providers.from_settings import key_ring, providers_of
from app.providers.health import HealthMonitor
from app.providers.outbound import ConnectionGuard, Resolve, check_base_url
from app.providers.probe import HttpProbe
from app.providers.registry import ProviderRegistry
from app.providers.traffic import TrafficSource


@dataclass(frozen=True, slots=True)
class ProviderAccess:
    """`traffic` is null where nobody makes calls; `resolve` null asks the machine's name service."""

    registry: ProviderRegistry
    monitor: HealthMonitor
    vault: Vault
    policy: AddressPolicy
    traffic: TrafficSource | None = None
    resolve: Resolve | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The registry first: the monitor watches what is in it."""
        async with self.registry.followed():
            self.monitor.start()
            try:
                yield
            finally:
                await self.monitor.close()

    async def check_address(self, base_url: str) -> None:
        """Raises AddressRefusal."""
        await check_base_url(base_url, self.policy, self.resolve)

    def is_operators_own(self, base_url: str) -> bool:
        """Whether the operator named the host, so that an admin may say that texts stay on own machines there."""
        return self.policy.allows_host(urlsplit(base_url).hostname or "")


def build_access(settings: Settings, database: Database, *, only_reads: bool = False) -> ProviderAccess:
    """Not yet started, and without traffic. With `only_reads` no encryption key is made."""
    llm = settings.llm
    vault = Vault(key_ring(settings, only_reads=only_reads))
    registry = ProviderRegistry(database, vault, providers_of(llm))
    monitor = HealthMonitor(registry, HttpProbe(ConnectionGuard.of(llm)), llm.health_seconds)
    return ProviderAccess(registry, monitor, vault, AddressPolicy.of(llm.allowed_hosts))
