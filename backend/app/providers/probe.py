"""One look at a provider: its list of models, which costs nothing and needs no model. Only the status is read."""

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from app.clock import local_seconds
from app.providers.outbound import AddressRefused, ConnectionGuard, GuardedSession
from app.providers.provider import HealthCheck, Provider, ProviderKind

_LOOK_SECONDS = 10.0
_ANTHROPIC_VERSION = "2023-06-01"
_HEADERS = {"User-Agent": "litevault", "Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Sign:
    """What a look saw. `error_code` is `connection`, `timeout`, `certificate`, `address_refused` or `http_503`."""

    is_alive: bool
    seconds: float
    error_code: str | None = None


class HttpProbe:
    """Over a session of its own."""

    def __init__(self, guard: ConnectionGuard) -> None:
        self._session = GuardedSession(guard, force_close=True)

    async def ask(self, provider: Provider) -> Sign:
        began = local_seconds()
        try:
            session = await self._session.get()
            began = local_seconds()  # the library's import is no latency of theirs
            async with asyncio.timeout(_LOOK_SECONDS):
                status = await _status(session, provider)
        except TimeoutError:
            return Sign(False, local_seconds() - began, "timeout")
        except Exception as error:  # noqa: BLE001 - a peer can break a connection in any way; each is a failed look
            return Sign(False, local_seconds() - began, _code_of(error))
        code = None if 200 <= status < 300 else f"http_{status}"
        return Sign(status < 500, local_seconds() - began, code)

    async def close(self) -> None:
        await self._session.close()


async def _status(session: Any, provider: Provider) -> int:  # noqa: ANN401 - aiohttp.ClientSession
    # Redirects are an answer, not a way on: the key in the headers is for this address alone.
    async with session.get(list_address(provider), headers=headers_of(provider), allow_redirects=False) as answer:
        return int(answer.status)


def list_address(provider: Provider) -> str:
    """Where the list of models is; of a provider that has an address."""
    address = (provider.address or "").rstrip("/")
    if provider.health_check is HealthCheck.OLLAMA_TAGS:
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.netloc}/api/tags"
    if provider.kind is ProviderKind.ANTHROPIC and not address.endswith("/v1"):
        address += "/v1"
    return f"{address}/models"


def headers_of(provider: Provider) -> dict[str, str]:
    """With the key, as each wire wants it; it is sent nowhere but to `list_address`."""
    key = provider.api_key.get_secret_value() if provider.api_key else None
    if provider.kind is ProviderKind.ANTHROPIC:
        return {**_HEADERS, "anthropic-version": _ANTHROPIC_VERSION, **({"x-api-key": key} if key else {})}
    return {**_HEADERS, **({"Authorization": f"Bearer {key}"} if key else {})}


def _code_of(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AddressRefused):
            return "address_refused"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "certificate"
        cause = cause.__cause__ or cause.__context__
    return "connection"
