"""What the routes need of the providers, built once in `main`."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from app.providers.addresses import AddressPolicy
from app.providers.health import HealthMonitor
from app.providers.outbound import Resolve, check_base_url
from app.providers.registry import ProviderRegistry
from app.providers.traffic import TrafficSource
from app.providers.vault import Vault


@dataclass(frozen=True, slots=True)
class ProviderAccess:
    """`traffic` is null where nobody makes calls; `resolve` null asks the machine's name service."""

    registry: ProviderRegistry
    monitor: HealthMonitor
    vault: Vault
    policy: AddressPolicy
    traffic: TrafficSource | None = None
    resolve: Resolve | None = None

    async def check_address(self, base_url: str) -> None:
        """Raises AddressRefusal."""
        await check_base_url(base_url, self.policy, self.resolve)

    def is_operators_own(self, base_url: str) -> bool:
        """Whether the operator named the host, so that an admin may say that texts stay on own machines there."""
        return self.policy.allows_host(urlsplit(base_url).hostname or "")
