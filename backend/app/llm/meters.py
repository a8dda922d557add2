"""What the calls of a process came to, counted for the operators' monitoring: sums only, nobody's name and no text.

They begin at nothing with the process. The ledger holds the same for good, call by call.
"""

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from statistics import median
from typing import NamedTuple

from app.llm.attempts import Attempt, AttemptOutcome

# Upper bounds in seconds, the last one without end. A model takes seconds rather than milliseconds.
LATENCY_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, float("inf"))
_RECENT = 50


class Kind(NamedTuple):
    """Calls that are counted together. `model` is `provider/model`."""

    provider: str
    model: str
    task: str


@dataclass(slots=True)
class Latencies:
    """How many calls ended within each of `LATENCY_BOUNDS` but not the one before, and all their seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * len(LATENCY_BOUNDS))
    seconds: float = 0.0


@dataclass(slots=True)
class Recent:
    """The last calls to one provider: how long its answers took, and how the last call that failed did so."""

    answered_ms: deque[int] = field(default_factory=lambda: deque(maxlen=_RECENT))
    error_code: str | None = None
    error_at: datetime | None = None

    @property
    def latency_p50_ms(self) -> float | None:
        return median(self.answered_ms) if self.answered_ms else None


@dataclass(slots=True)
class Meters:
    """`calls` is by kind, outcome and error code, "" for none; `unpriced` counts those whose cost nobody knows."""

    calls: Counter[tuple[Kind, str, str]] = field(default_factory=Counter)
    input_tokens: Counter[Kind] = field(default_factory=Counter)
    output_tokens: Counter[Kind] = field(default_factory=Counter)
    cost_usd: defaultdict[Kind, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    unpriced: Counter[Kind] = field(default_factory=Counter)
    saved_usd: defaultdict[Kind, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    latencies: defaultdict[Kind, Latencies] = field(default_factory=lambda: defaultdict(Latencies))
    recent: defaultdict[str, Recent] = field(default_factory=lambda: defaultdict(Recent))

    def count(self, attempt: Attempt) -> None:
        """A settled attempt, or an answer from before in its place."""
        kind = Kind(attempt.provider, attempt.model, attempt.purpose.task or "")
        self.calls[kind, str(attempt.outcome or ""), attempt.error_code or ""] += 1
        if attempt.saved is not None:
            self.saved_usd[kind] += attempt.saved.cost_usd or 0
            return
        usage, cost = attempt.usage, attempt.usage.cost_usd
        self.input_tokens[kind] += usage.input_tokens or 0
        self.output_tokens[kind] += usage.output_tokens or 0
        if cost is None:
            self.unpriced[kind] += 1
        else:
            self.cost_usd[kind] += cost
        if attempt.latency_ms is not None:
            seconds, latencies = attempt.latency_ms / 1000, self.latencies[kind]
            latencies.counts[bisect_left(LATENCY_BOUNDS, seconds)] += 1
            latencies.seconds += seconds
        self._note(attempt, self.recent[attempt.provider])

    def _note(self, attempt: Attempt, recent: Recent) -> None:
        if attempt.outcome is AttemptOutcome.OK and attempt.latency_ms is not None:
            recent.answered_ms.append(attempt.latency_ms)
        elif attempt.error_code is not None:
            recent.error_code, recent.error_at = attempt.error_code, attempt.ended_at
