"""Which addresses a provider may have: public ones over https, and those that the operator allows. Pure.

The same policy is asked when an address is saved and for each connection, because a name may point elsewhere by then.
Invariant: an address in another's clothing (IPv4 in IPv6 in any of its forms) is judged by what it leads to.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_LONGEST_ADDRESS = 500
_NAT64 = ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE = ip_network("::/96")
# 192.0.0.0/24 holds the metadata of some clouds; Python takes parts of these for global, by version.
_NEVER_PUBLIC = tuple(ip_network(network) for network in ("192.0.0.0/24", "64:ff9b:1::/48", "fec0::/10"))
# Public by its number, but it is the virtual machine's own host that answers there (Azure's metadata).
_OF_THE_HOST = frozenset({ip_address("168.63.129.16")})


class AddressRefusal(ValueError):
    """`rule` is for programs, the message for people; neither holds the address."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What the operator allows beyond the public network: host names, and networks or single addresses."""

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """From names and CIDRs. Raises ValueError for an entry that is neither."""
        names, networks = set(), []
        for entry in entries:
            try:
                networks.append(ip_network(entry.strip("[]")))
            except ValueError:
                names.add(_host_name(entry))
        return cls(frozenset(names), tuple(networks))

    def allows_host(self, host: str) -> bool:
        """Named by the operator: as this name, or as a literal address within one of the networks."""
        literal = literal_address(host)
        return host_key(host) in self.names if literal is None else self.is_allowed(literal)

    def allows_address(self, address: Address) -> bool:
        """Whether a name that the operator did not name may lead there."""
        return is_public(address) or self.is_allowed(address)

    def is_allowed(self, address: Address) -> bool:
        """Within one of the operator's networks."""
        real = _unwrapped(address)
        return any(real in network for network in self.networks)

    def check_form(self, base_url: str) -> SplitResult:
        """Everything that can be said without asking the name service. Raises AddressRefusal."""
        parts = _parsed(base_url)
        host = parts.hostname or ""
        is_allowed = self.allows_host(host)
        if parts.scheme != "https" and not is_allowed:
            raise AddressRefusal(
                "https_required", "must begin with https://; http is for hosts that the operator allows"
            )
        literal = literal_address(host)
        if literal is not None and not is_allowed:
            self.check_addresses([literal])
        return parts

    def check_addresses(self, addresses: Iterable[Address]) -> None:
        """Raises AddressRefusal when any of them may not be reached: the next connection may take that one."""
        if not all(self.allows_address(address) for address in addresses):
            raise AddressRefusal(
                "private_address",
                "leads into a private network; the operator may allow it by LITEVAULT_LLM_ALLOWED_HOSTS",
            )


def is_public(address: Address) -> bool:
    """Reachable by everybody, and nobody's own machine, network or metadata service."""
    real = _unwrapped(address)
    is_odd = real.is_multicast or real.is_reserved or real in _OF_THE_HOST
    return real.is_global and not is_odd and not any(real in network for network in _NEVER_PUBLIC)


def literal_address(host: str) -> Address | None:
    """Null for a name. Odd spellings (127.1, 0x7f000001) are names here too: the name service reads them."""
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def host_key(host: str) -> str:
    return host.lower().rstrip(".")


def _unwrapped(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and (address in _NAT64 or address in _IPV4_COMPATIBLE) and int(address) > 1:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


def _host_name(entry: str) -> str:
    name = host_key(entry)
    if not _NAME.fullmatch(name):
        raise ValueError("must be host names, addresses or networks such as 10.0.0.0/8")
    return name


def _parsed(base_url: str) -> SplitResult:
    wrong = AddressRefusal("url_form", "must be a web address: https://host/path, without user, query or fragment")
    if not base_url.isascii() or not base_url.isprintable() or len(base_url) > _LONGEST_ADDRESS or " " in base_url:
        raise wrong
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    has_extras = "@" in parts.netloc or parts.query or parts.fragment or "\\" in base_url or port == 0
    is_host = host and (literal_address(host) is not None or _NAME.fullmatch(host_key(host)))
    if parts.scheme not in ("http", "https") or not is_host or has_extras or "%" in parts.netloc:
        raise wrong
    return parts
