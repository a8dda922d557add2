"""Whether each provider lives, as this process sees it: a cheap look at its list of models, now and then.

One look a provider at a time, none for providers that nobody uses, none at all with the stub alone. A refusal (401,
404, 429) is a sign of life; no connection, no answer in time and 5xx are not. Nothing here touches the database.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median
from typing import Protocol

import structlog

from app import clock
from app.providers.probe import Sign
from app.providers.provider import HealthCheck, KeyState, Provider
from app.providers.registry import ProviderRegistry
from app.providers.schemas import HealthState

log = structlog.get_logger()
_DOWN_AFTER = 3
# While something is wrong a look costs us less than not knowing.
_SOONER = 6
_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Health:
    """Of one provider. Times are null before the first check; `failures` are those in a row."""

    state: HealthState = HealthState.UNKNOWN
    last_checked_at: datetime | None = None
    failing_since: datetime | None = None
    latency_seconds: float | None = None
    latency_p50_seconds: float | None = None
    last_error_code: str | None = None
    failures: int = 0


def judge(before: Health, sign: Sign, at: datetime) -> Health:
    """What a look changes: down after so many failures in a row, well again with the first sign of life."""
    if sign.is_alive:
        return replace(
            before,
            state=HealthState.HEALTHY,
            last_checked_at=at,
            failing_since=None,
            latency_seconds=sign.seconds,
            last_error_code=sign.error_code,
            failures=0,
        )
    failures = before.failures + 1
    return replace(
        before,
        state=HealthState.DOWN if failures >= _DOWN_AFTER else HealthState.FAILING,
        last_checked_at=at,
        failing_since=before.failing_since or at,
        last_error_code=sign.error_code,
        failures=failures,
    )


class Probe(Protocol):
    """Who looks; of several wires over HTTP, or a test's own."""

    async def ask(self, provider: Provider) -> Sign: ...
    async def close(self) -> None: ...


class HealthMonitor:
    """Watches the providers of the registry; `start` after it, `close` before it."""

    def __init__(self, registry: ProviderRegistry, probe: Probe, interval_seconds: float) -> None:
        self._registry = registry
        self._probe = probe
        self._interval_seconds = interval_seconds
        self._watched: dict[str, tuple[Provider, asyncio.Task[None]]] = {}
        self._health: dict[str, Health] = {}
        self._latencies: dict[str, deque[float]] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._is_closed = False

    def health_of(self, name: str) -> Health:
        return self._health.get(name, Health())

    def is_down(self, name: str) -> bool:
        """Whether calls should leave it alone. Never true of a provider that is not watched."""
        return self.health_of(name).state is HealthState.DOWN

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """From now on `listener` is told the name of each provider after each look."""
        self._listeners.append(listener)

    def start(self) -> None:
        self._registry.subscribe(self._follow_registry)
        self._follow_registry()

    async def close(self) -> None:
        self._is_closed = True
        tasks = [task for _, task in self._watched.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._probe.close()

    def _follow_registry(self) -> None:
        """What was known of a provider that is gone, or is asked otherwise now, is forgotten."""
        if self._is_closed:
            return
        wanted = {name: found for name, found in self._registry.snapshot().items() if is_watched(found)}
        for name, (provider, task) in list(self._watched.items()):
            if wanted.get(name) != provider:
                task.cancel()
                del self._watched[name]
                self._health.pop(name, None)
                self._latencies.pop(name, None)
        for name in wanted.keys() - self._watched.keys():
            task = asyncio.create_task(self._watch(wanted[name]), name=f"health-of-{name}")
            self._watched[name] = (wanted[name], task)

    async def _watch(self, provider: Provider) -> None:
        while True:
            health = await self._look(provider)
            pause = self._interval_seconds / (_SOONER if health.failures else 1)
            # So that the processes of one machine do not ask in step.
            await clock.sleep(pause * random.uniform(0.9, 1.1))  # noqa: S311 - no secret

    async def _look(self, provider: Provider) -> Health:
        name, before = provider.name, self.health_of(provider.name)
        sign = await self._probe.ask(provider)
        health = judge(before, sign, clock.utc_now())
        if sign.is_alive:
            samples = self._latencies.setdefault(name, deque(maxlen=_SAMPLES))
            samples.append(sign.seconds)
            health = replace(health, latency_p50_seconds=median(samples))
        self._health[name] = health
        _tell_log(name, before, health)
        for listener in self._listeners:
            listener(name)
        return health


def is_watched(provider: Provider) -> bool:
    """Whether there is somebody to ask, and a reason to."""
    if not provider.is_enabled or provider.key_state is KeyState.UNREADABLE:
        return False
    is_asked = provider.health_check is not HealthCheck.NONE and provider.address is not None
    return is_asked and provider.kind.has_wire


def _tell_log(name: str, before: Health, health: Health) -> None:
    if health.state is HealthState.DOWN and before.state is not HealthState.DOWN:
        log.warning("provider.went_down", provider=name, reason=health.last_error_code)
    elif before.state is HealthState.DOWN and health.state is HealthState.HEALTHY:
        log.info("provider.came_back", provider=name)
