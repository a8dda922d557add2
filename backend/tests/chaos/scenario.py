"""What a run is made of, and the plan of its blows: pure, the same for the same seed."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Engine = Literal["sqlite", "postgresql"]
Provider = Literal["litellm", "stub"]

LEASE_SECONDS = 2.0
# Before the first blow something must be under way; after the last one the load goes on for a while.
_QUIET_START_SECONDS = 1.0
_QUIET_END_SECONDS = 1.0


class Blow(StrEnum):
    """KILL and TERMINATE restart the process after `seconds`; PAUSE stops it for `seconds`."""

    KILL = "kill -9"
    PAUSE = "SIGSTOP"
    TERMINATE = "SIGTERM"
    DATABASE_FAST = "database fast"
    DATABASE_IMMEDIATE = "database immediate"


_PROCESS_BLOWS = {Blow.KILL: 5, Blow.PAUSE: 3, Blow.TERMINATE: 3}
_DATABASE_BLOWS = {Blow.DATABASE_FAST: 1, Blow.DATABASE_IMMEDIATE: 1}
_DOWN_SECONDS = (0.0, 1.0)
# Some pauses end within the lease, most outlast it.
_PAUSE_SECONDS = (0.5 * LEASE_SECONDS, 2.0 * LEASE_SECONDS)


@dataclass(frozen=True, slots=True)
class Planned:
    """One blow; `server` counts from 0 and is None for the database."""

    at_seconds: float
    blow: Blow
    server: int | None
    seconds: float

    def __str__(self) -> str:
        where = "" if self.server is None else f" server {self.server}"
        return f"{self.at_seconds:6.1f} s  {self.blow}{where} for {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run. `gap_seconds` is the mean time between two blows; `concurrency` counts calls a process."""

    engine: Engine
    provider: Provider
    seconds: float
    seed: int
    gap_seconds: float
    concurrency: int
    posts_a_second: float

    @property
    def servers(self) -> int:
        return 3 if self.engine == "postgresql" else 1

    @property
    def name(self) -> str:
        return f"{self.engine}/{self.provider}"

    def rng(self, purpose: str) -> random.Random:
        """A source of chance of its own for each purpose: none disturbs another."""
        return random.Random(f"{self.seed}/{self.name}/{purpose}")


def scenario(engine: Engine, provider: Provider, *, seconds: float, seed: int) -> Scenario:
    """With litellm the blows are rarer: each restart costs its import, up to five seconds of a core."""
    if provider == "litellm":
        gap = 2.5 if engine == "postgresql" else 5.0
        return Scenario(engine, provider, seconds, seed, gap, concurrency=8, posts_a_second=12)
    gap = 1.0 if engine == "postgresql" else 2.5
    return Scenario(engine, provider, seconds, seed, gap, concurrency=20, posts_a_second=80)


def plan_blows(chosen: Scenario) -> list[Planned]:
    """In order of time, however short the run: the first one is always a kill."""
    rng = chosen.rng("blows")
    weights = dict(_PROCESS_BLOWS)
    if chosen.engine == "postgresql":
        weights |= _DATABASE_BLOWS
    planned: list[Planned] = []
    at = _QUIET_START_SECONDS + rng.random()
    while at < chosen.seconds - _QUIET_END_SECONDS:
        blow = rng.choices(list(weights), list(weights.values()))[0] if planned else Blow.KILL
        server = None if blow in _DATABASE_BLOWS else rng.randrange(chosen.servers)
        seconds = rng.uniform(*(_PAUSE_SECONDS if blow is Blow.PAUSE else _DOWN_SECONDS))
        planned.append(Planned(round(at, 2), blow, server, round(seconds, 2)))
        at += rng.expovariate(1 / chosen.gap_seconds)
    return planned
