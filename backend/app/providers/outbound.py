"""The guard of outgoing connections: every address is judged again at the moment when a socket is made for it.

What was saved as a public name may point into the private network a minute later (DNS rebinding), and a literal
address never meets the name service. So names are judged by the resolver and addresses by the socket factory, and
redirects, which would leave with our key for anywhere, are an error.
"""

import asyncio
import importlib
import re
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from app.config import LLMSettings
from app.providers.addresses import (
    Address,
    AddressPolicy,
    AddressRefusal,
    host_key,
    literal_address,
)

Resolve = Callable[[str, int], Any]
_RESOLVE_SECONDS = 5.0
# Names in practice have a handful; a guard that lives for months must not grow.
_MOST_VOUCHED = 10_000
# A name of the public kind, which a proxy may know though this machine does not; never a number in an odd spelling.
_PROXYS_TO_RESOLVE = re.compile(r"\.([a-z]{2,}|xn--[a-z0-9-]+)$")


class AddressRefused(OSError):
    """The connection was not made; for an HTTP client it is one of the ways in which a connection fails."""


class RedirectRefused(Exception):
    """The provider sent us elsewhere; its key is not for others."""


class ConnectionGuard:
    """For the connector of one HTTP session, on one event loop."""

    def __init__(self, policy: AddressPolicy, own_hosts: frozenset[str] = frozenset()) -> None:
        self._policy = policy
        # The settings' own address and the machine's proxies: whoever sets them has the machine anyway.
        self._own_hosts = own_hosts
        self._vouched = {str(found) for host in own_hosts if (found := literal_address(host)) is not None}

    @classmethod
    def of(cls, settings: LLMSettings) -> "ConnectionGuard":
        addresses = [address for address in (settings.api_base, *getproxies().values()) if address]
        hosts = (urlsplit(address if "//" in address else f"//{address}").hostname for address in addresses)
        return cls(AddressPolicy.of(settings.allowed_hosts), frozenset(host_key(host) for host in hosts if host))

    def connector(self, resolver: Any = None, **options: Any) -> Any:  # noqa: ANN401 - aiohttp's, imported late
        """An aiohttp.TCPConnector; `resolver` asks the name service, by default as aiohttp does."""
        import aiohttp  # noqa: PLC0415 - a heavy import that the stub does without
        from aiohttp.abc import AbstractResolver  # noqa: PLC0415

        guard, asked = self, resolver or aiohttp.DefaultResolver()

        class GuardedResolver(AbstractResolver):
            async def resolve(
                self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
            ) -> list[Any]:
                found: list[Any] = await asked.resolve(host, port, family)
                guard.judge_name(host, [record["host"] for record in found])
                return found

            async def close(self) -> None:
                await asked.close()

        return aiohttp.TCPConnector(resolver=GuardedResolver(), socket_factory=self.make_socket, **options)

    def judge_name(self, host: str, addresses: Sequence[str]) -> None:
        """Raises AddressRefused. What a name of the operator's leads to is vouched for."""
        if host_key(host) not in self._own_hosts and not self._policy.allows_host(host):
            self._check([_parsed(address) for address in addresses])
            return
        if len(self._vouched) > _MOST_VOUCHED:
            self._vouched.clear()
        self._vouched.update(str(_parsed(address)) for address in addresses)

    def make_socket(self, place: tuple[Any, ...]) -> socket.socket:
        """For aiohttp, right before it connects: `place` is a row of getaddrinfo. Raises AddressRefused."""
        family, kind, protocol, _, sockaddr = place
        address = _parsed(str(sockaddr[0]))
        if str(address) not in self._vouched:
            self._check([address])
        return socket.socket(family, kind, protocol)

    def _check(self, addresses: Sequence[Address]) -> None:
        try:
            self._policy.check_addresses(addresses)
        except AddressRefusal as refusal:
            raise AddressRefused(str(refusal)) from None


class GuardedSession:
    """An HTTP session behind the guard, made at its first use: who has no provider never imports its library."""

    def __init__(self, guard: ConnectionGuard, **connector_options: Any) -> None:  # noqa: ANN401 - aiohttp's
        self._guard, self._options = guard, connector_options
        self._making: asyncio.Task[Any] | None = None

    async def get(self) -> Any:  # noqa: ANN401 - aiohttp.ClientSession
        if self._making is None:
            self._making = asyncio.create_task(self._make())
        return await asyncio.shield(self._making)

    async def close(self) -> None:
        """Safe to repeat."""
        if self._making is not None:
            session = await self._making
            await session.close()

    async def _make(self) -> Any:  # noqa: ANN401 - aiohttp.ClientSession
        aiohttp = await asyncio.to_thread(importlib.import_module, "aiohttp")
        return aiohttp.ClientSession(
            connector=self._guard.connector(**self._options), cookie_jar=aiohttp.DummyCookieJar()
        )


def refuse_redirect(status: int, headers: Any) -> None:  # noqa: ANN401 - a mapping of any HTTP library
    """Raises RedirectRefused."""
    if 300 <= status < 400 and "Location" in headers:
        raise RedirectRefused


async def check_base_url(base_url: str, policy: AddressPolicy, resolve: Resolve | None = None) -> None:
    """As an address is saved: its form, and where its name leads now. Raises AddressRefusal."""
    parts = policy.check_form(base_url)
    host = parts.hostname or ""
    if policy.allows_host(host) or literal_address(host) is not None:
        return
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await (resolve or _resolve)(host, parts.port or 443)
    except (OSError, UnicodeError, TimeoutError):
        if _PROXYS_TO_RESOLVE.search(host_key(host)) and _goes_by_proxy(parts.scheme, host):
            return
        raise AddressRefusal("unresolvable", "names a host that the name service does not know") from None
    policy.check_addresses([_parsed(address) for address in found])


def _goes_by_proxy(scheme: str, host: str) -> bool:
    """By HTTPS_PROXY and NO_PROXY, as the clients of the calls decide it."""
    return scheme in getproxies() and not proxy_bypass(host)


async def _resolve(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    return [str(row[4][0]) for row in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _parsed(address: str) -> Address:
    return ip_address(address.partition("%")[0])
