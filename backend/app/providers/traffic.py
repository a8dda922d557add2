"""What the calls to a provider met, for its status page. Whoever makes the calls implements `TrafficSource`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class GateState:
    """`code` says why it is closed; null while it is open. `is_shared`: so it is for all processes on the database."""

    is_open: bool = True
    code: str | None = None
    seconds_until_open: float = 0.0
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class LimitState:
    """What this process holds of the limits a minute, null: no limit, or all of it. `processes` counts this one too."""

    is_shared: bool
    requests_held: int | None
    tokens_held: int | None
    processes: int


@dataclass(frozen=True, slots=True)
class BreakerState:
    """Of one model: `closed`, `open` or `half_open`."""

    model: str
    state: str
    seconds_until_probe: float = 0.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """In this process. Null: not counted."""

    gate: GateState
    limits: LimitState | None = None
    breakers: Sequence[BreakerState] = ()
    in_flight: int | None = None
    waiting: int | None = None
    latency_p50_ms: float | None = None
    last_error_code: str | None = None
    last_error_at: datetime | None = None


class TrafficSource(Protocol):
    def traffic_of(self, provider: str) -> Traffic: ...
