"""Attempts: every upstream call is on the books before it leaves, and is settled after it.

These are the values and the seam; `llm/ledger/statements.py` keeps them in the database.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Protocol

from uuid_utils import uuid7

from app.clock import local_seconds, utc_now


class AttemptOutcome(StrEnum):
    """How an upstream call ended.

    IN_DOUBT: nobody knows whether it was served and billed. UNUSED: it was on the books, but no call left.
    CACHED: no call left either, an answer from before was given again.
    """

    OK = "OK"
    INVALID = "INVALID"
    ERROR = "ERROR"
    CANCELLED = "CANCELLED"
    IN_DOUBT = "IN_DOUBT"
    UNUSED = "UNUSED"
    CACHED = "CACHED"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them, and the prices at that time in USD a token; None is unknown, never 0.

    `cached_tokens` are those of the input that the provider had in its own cache; without a price of their own they
    cost as much as the others.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_price_usd: Decimal | None = None
    output_price_usd: Decimal | None = None
    cached_tokens: int | None = None
    cached_price_usd: Decimal | None = None

    @property
    def total_tokens(self) -> int:
        """Unknown counts as nothing."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    @property
    def cost_usd(self) -> Decimal | None:
        """None when a count or a price is unknown."""
        if None in (self.input_tokens, self.output_tokens, self.input_price_usd, self.output_price_usd):
            return None
        assert self.input_tokens is not None and self.output_tokens is not None  # noqa: S101
        assert self.input_price_usd is not None and self.output_price_usd is not None  # noqa: S101
        cost = self.input_tokens * self.input_price_usd + self.output_tokens * self.output_price_usd
        if self.cached_tokens and self.cached_price_usd is not None:
            cost -= min(self.cached_tokens, self.input_tokens) * (self.input_price_usd - self.cached_price_usd)
        return cost


@dataclass(frozen=True, slots=True)
class Saved:
    """What an answer once took that is given again; a cost of None is unknown."""

    tokens: int
    cost_usd: Decimal | None


NOTHING = Usage(0, 0, Decimal(0), Decimal(0))


@dataclass(frozen=True, slots=True)
class Purpose:
    """What an upstream call is made for, and the most that it may cost, None when nobody knows.

    `reason`: why this model, and which try.
    """

    task: str | None = None
    reason: str | None = None
    prompt_id: str | None = None
    prompt_version: int | None = None
    api_key_id: str | None = None
    is_stream: bool = False
    most_usd: Decimal | None = None


UNSAID = Purpose()


class FirstCall(NamedTuple):
    """What a run will ask first, known before it begins."""

    provider: str
    model: str
    purpose: Purpose = UNSAID


@dataclass(slots=True)
class Attempt:
    """One upstream call. `outcome` None means that it is under way."""

    provider: str
    model: str
    purpose: Purpose = UNSAID
    id: str = field(default_factory=lambda: str(uuid7()))
    started_at: datetime = field(default_factory=utc_now)
    ended_at: datetime | None = None
    outcome: AttemptOutcome | None = None
    error_code: str | None = None
    usage: Usage = field(default_factory=Usage)
    latency_ms: int | None = None
    first_token_ms: int | None = None
    saved: Saved | None = None
    _begun_at: float | None = field(default=None, repr=False)

    def begin(self) -> None:
        """The call is about to leave: its latency counts from here."""
        self._begun_at = local_seconds()

    def note_first_token(self) -> None:
        self.first_token_ms = self._milliseconds()

    def _milliseconds(self) -> int | None:
        return None if self._begun_at is None else round((local_seconds() - self._begun_at) * 1000)

    def settle_as_cached(self, saved: Saved) -> None:
        """No call left: an answer that once took `saved` was given again."""
        self.saved = saved
        self.settle(AttemptOutcome.CACHED, usage=NOTHING)

    def settle(self, outcome: AttemptOutcome, *, usage: Usage | None = None, error_code: str | None = None) -> None:
        self.ended_at, self.outcome, self.error_code = utc_now(), outcome, error_code
        self.usage = usage or self.usage
        self.latency_ms = self._milliseconds()


class AttemptRecorder(Protocol):
    """The books of one run on one row."""

    async def open(self, *, provider: str, model: str, purpose: Purpose = UNSAID) -> Attempt:
        """Put an attempt on the books, committed, before the call leaves.

        Raises LeaseLost when the row is no longer ours; then the call must not be made.
        """
        ...

    def close(self, attempt: Attempt) -> None:
        """Take back a settled attempt; it is written with the next opening or with the end of the run."""
        ...

    async def note_cached(self, *, provider: str, model: str, purpose: Purpose, saved: Saved) -> Attempt:
        """Put on the books that no call leaves, because an answer from before is given again."""
        ...


class Unrecorded:
    """Keeps nothing: for the live call of `litevault check` and for trying a provider by hand."""

    async def open(self, *, provider: str, model: str, purpose: Purpose = UNSAID) -> Attempt:
        return Attempt(provider=provider, model=model, purpose=purpose)

    def close(self, attempt: Attempt) -> None:
        """Nothing is kept."""

    async def note_cached(self, *, provider: str, model: str, purpose: Purpose, saved: Saved) -> Attempt:
        attempt = Attempt(provider=provider, model=model, purpose=purpose)
        attempt.settle_as_cached(saved)
        return attempt


UNRECORDED = Unrecorded()
