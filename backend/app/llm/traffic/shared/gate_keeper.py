"""Tells other processes of gates that were closed and opened here, and does here as they tell.

Whatever is found out here holds here at once and is written behind the call; what could not be written is written when
the database is back. Invariant: what is read never undoes what was found out here and is not yet written.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256

import structlog

from app import clock
from app.announcements import News
from app.database import Database
from app.errors import ServiceUnavailable
from app.following import followed
from app.llm.traffic.gate import ProviderGate
from app.llm.traffic.shared import gate_book
from app.llm.traffic.shared.gate_book import GATES, Found, Place
from app.providers.provider import Provider

log = structlog.get_logger(__name__)
_GAP_SECONDS = 0.2
_AGAIN_SECONDS = 1.0


def scope_of(name: str, provider: Provider | None) -> str:
    """What a refusal is about: the same for all processes that call this provider at this address by this key."""
    parts = [name]
    if provider is not None:
        key = provider.api_key.get_secret_value() if provider.api_key else ""
        parts += [provider.kind, provider.address or "", key]
    return sha256("\0".join(parts).encode()).hexdigest()


class SharedGates:
    """Of a process, shared with others while it is `running`."""

    def __init__(self, database: Database, gate: ProviderGate, providers: Callable[[], Mapping[str, Provider]]) -> None:
        self._database, self._gate, self._providers = database, gate, providers
        self._unwritten: set[str] = set()
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self._scopes: dict[str, str] = {}
        self._is_running = self.is_shared = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._is_running = True
        self.review()
        self._gate.on_change = self._note
        # On SQLite every commit may be such news, and the few processes there are served as other settings are.
        gap = None if self._database.is_sqlite else _GAP_SECONDS
        async with followed(self._database, GATES, self.refresh, gap_seconds=gap):
            writing = asyncio.create_task(self._write_forever())
            try:
                yield
            finally:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
                with contextlib.suppress(ServiceUnavailable):
                    await self._write()
                self._is_running = self.is_shared = False

    def review(self) -> None:
        """The providers have changed: what was refused is forgotten where another key or address is asked now."""
        scopes = {name: scope_of(name, provider) for name, provider in self._providers().items()}
        for name, scope in self._scopes.items():
            if scopes.get(name) != scope:
                self._gate.forget(name)
        self._scopes = scopes

    async def refresh(self) -> None:
        """As the database has it."""
        async with self._turn:
            await self._read()

    async def may_probe(self, provider: str) -> bool:
        """Whether this process may find out, as the only one; where the database is away each decides for itself."""
        if not self._is_running:
            return True
        try:
            async with self._turn:
                await self._flush()
                if await self._database.write(partial(gate_book.claim_probe, place=self._place(provider))):
                    return True
                await self._read()
        except ServiceUnavailable:
            return True
        return False

    def _note(self, provider: str) -> None:
        self._unwritten.add(provider)
        self._news.set()

    async def _write_forever(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._write()
            except ServiceUnavailable as error:
                self.is_shared = False
                log.warning("gates.not_shared", exc_info=error)
                await clock.sleep(_AGAIN_SECONDS)
                self._news.set()

    async def _write(self) -> None:
        async with self._turn:
            await self._flush()

    async def _flush(self) -> None:
        while self._unwritten:
            provider = self._unwritten.pop()
            place, closure = self._place(provider), self._gate.closure_of(provider)
            work = (
                partial(gate_book.open_gate, scope=place.scope)
                if closure is None
                else partial(gate_book.close_gate, place=place, closure=closure)
            )
            try:
                await self._database.write(work)
            except BaseException:
                self._unwritten.add(provider)
                raise
        self.is_shared = True

    async def _read(self) -> None:
        found = await self._database.read(partial(gate_book.closed_gates, process_id=self._database.process_id))
        self.is_shared = True
        if self._adopt(found):
            # Rows that were put off are worked, here alone: every process hears it for itself.
            self._database.noticeboard.publish(News(ready=True))

    def _adopt(self, found: Sequence[Found]) -> bool:
        """Whether that opened a gate; all are gone through."""
        closed = {gate.provider: gate.closure for gate in found if self._place(gate.provider).scope == gate.scope}
        named = {*closed, *self._gate.closed()} - self._unwritten
        return sum(self._gate.adopt(provider, closed.get(provider)) for provider in named) > 0

    def _place(self, provider: str) -> Place:
        scope = scope_of(provider, self._providers().get(provider))
        return Place(scope, provider, self._database.process_id)
