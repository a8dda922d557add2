"""Every provider that calls may go to, by name, in memory: those of the settings, and over them the database's.

The database wins: what an admin changes there is the later word, holds at once and needs no restart, and disabling or
deleting it is one call. Whoever reads the snapshot waits for nothing; a change brings a new one (`following.py`).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import structlog
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database import Database
from app.errors import StartRefused
from app.following import followed
from app.providers.credentials.vault import Vault, VaultLocked
from app.providers.provider import HealthCheck, KeyState, ModelSpec, Provider, ProviderKind
from app.providers.provider_model import LLMProvider
from app.providers.service import PROVIDERS, stored_origin

log = structlog.get_logger()


class ProviderRegistry:
    """Of a process; up to date while it is `followed`."""

    def __init__(self, database: Database, vault: Vault, from_settings: Mapping[str, Provider]) -> None:
        self._database = database
        self._vault = vault
        self.from_settings = MappingProxyType(dict(from_settings))
        self._snapshot: Mapping[str, Provider] = self.from_settings
        self._listeners: list[Callable[[], None]] = []
        self._seen: Any = ()
        self._warned: set[tuple[str, int]] = set()
        self._turn = asyncio.Lock()

    def snapshot(self) -> Mapping[str, Provider]:
        """By name; disabled ones too, so that nobody takes a provider of the settings for them."""
        return self._snapshot

    def subscribe(self, listener: Callable[[], None]) -> None:
        """From now on `listener` is told of each new snapshot."""
        self._listeners.append(listener)

    def followed(self) -> AbstractAsyncContextManager[None]:
        """In the block, it is as the database has it; while that is away, the settings' providers hold."""
        return followed(self._database, PROVIDERS, self.refresh)

    async def refresh(self) -> None:
        """The database as it is now; in turn, so that an older reading never replaces a newer one."""
        async with self._turn:
            rows = await self._database.read(_all_providers)
            seen = {row.id: row.version for row in rows}
            if seen == self._seen:
                return
            # In a thread: keys may have to be read from their file.
            snapshot = await asyncio.to_thread(self._assemble, rows)
            is_complete = all(found.key_state is not KeyState.UNREADABLE for found in snapshot.values())
            self._seen = seen if is_complete else None
            if snapshot == self._snapshot:
                return
            self._snapshot = snapshot
        for listener in self._listeners:
            listener()

    def _assemble(self, rows: Sequence[LLMProvider]) -> Mapping[str, Provider]:
        found = dict(self.from_settings)
        for row in rows:
            found.pop(row.name, None)  # also where the row cannot be read: the settings' provider is not what was meant
            if (provider := self._read(row)) is not None:
                found[row.name] = provider
        return MappingProxyType(found)

    def _read(self, row: LLMProvider) -> Provider | None:
        """None for one that another release wrote in a form that this one does not know."""
        try:
            return self._provider(row)
        except (ValueError, KeyError, TypeError, ArithmeticError):
            self._warn_once("provider.unreadable", row)
            return None

    def _warn_once(self, event: str, row: LLMProvider) -> None:
        if (row.id, row.version) not in self._warned:
            self._warned.add((row.id, row.version))
            log.warning(event, provider=row.name)

    def _provider(self, row: LLMProvider) -> Provider:
        key, key_state = self._open(row)
        return Provider(
            row.name,
            ProviderKind(row.kind),
            base_url=row.base_url,
            api_key=key,
            key_state=key_state,
            is_local=row.is_local,
            requests_per_minute=row.requests_per_minute,
            tokens_per_minute=row.tokens_per_minute,
            max_concurrency=row.max_concurrency,
            models=tuple(_model(entry) for entry in row.models),
            is_enabled=row.is_enabled,
            health_check=HealthCheck(row.health_check),
            id=row.id,
        )

    def _open(self, row: LLMProvider) -> tuple[SecretStr | None, KeyState]:
        if row.sealed_key is None:
            return None, KeyState.NONE
        try:
            secret = self._vault.open(row.sealed_key, provider_id=row.id, origin=stored_origin(row))
        except (VaultLocked, StartRefused):
            self._warn_once("provider.key_unreadable", row)
            return None, KeyState.UNREADABLE
        return secret, KeyState.SET


def _all_providers(session: Session) -> Sequence[LLMProvider]:
    return session.scalars(select(LLMProvider).order_by(LLMProvider.name)).all()


def _model(entry: Mapping[str, Any]) -> ModelSpec:
    prices = {name: entry.get(name) for name in ("inputPriceUsd", "outputPriceUsd")}
    exact = {name: None if price is None else Decimal(price) for name, price in prices.items()}
    return ModelSpec(
        entry["name"],
        context_window=entry.get("contextWindow"),
        max_output_tokens=entry.get("maxOutputTokens"),
        input_price_usd=exact["inputPriceUsd"],
        output_price_usd=exact["outputPriceUsd"],
    )
