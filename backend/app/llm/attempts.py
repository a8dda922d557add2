"""Attempts: every upstream call is on the books before it leaves, and is settled after it.

These are the values and the seam; `llm/ledger.py` keeps them in the database.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from uuid_utils import uuid7

from app.clock import utc_now


class AttemptOutcome(StrEnum):
    """How an upstream call ended.

    IN_DOUBT: nobody knows whether it was served and billed. UNUSED: it was on the books, but no call left.
    """

    OK = "OK"
    INVALID = "INVALID"
    ERROR = "ERROR"
    CANCELLED = "CANCELLED"
    IN_DOUBT = "IN_DOUBT"
    UNUSED = "UNUSED"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them, and the prices at that time in USD a token; None is unknown, never 0."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_price_usd: Decimal | None = None
    output_price_usd: Decimal | None = None

    @property
    def cost_usd(self) -> Decimal | None:
        """None when a count or a price is unknown."""
        if None in (self.input_tokens, self.output_tokens, self.input_price_usd, self.output_price_usd):
            return None
        assert self.input_tokens is not None and self.output_tokens is not None  # noqa: S101
        assert self.input_price_usd is not None and self.output_price_usd is not None  # noqa: S101
        return self.input_tokens * self.input_price_usd + self.output_tokens * self.output_price_usd


NOTHING = Usage(0, 0, Decimal(0), Decimal(0))


@dataclass(slots=True)
class Attempt:
    """One upstream call. `outcome` None means that it is under way.

    `reserved_usd` is the most that it may cost, which counts as spent while its cost is unknown; None: nobody knows.
    """

    provider: str
    model: str
    id: str = field(default_factory=lambda: str(uuid7()))
    started_at: datetime = field(default_factory=utc_now)
    ended_at: datetime | None = None
    outcome: AttemptOutcome | None = None
    error_code: str | None = None
    usage: Usage = field(default_factory=Usage)
    reserved_usd: Decimal | None = None

    def settle(self, outcome: AttemptOutcome, *, usage: Usage | None = None, error_code: str | None = None) -> None:
        self.ended_at, self.outcome, self.error_code = utc_now(), outcome, error_code
        self.usage = usage or self.usage


class AttemptRecorder(Protocol):
    """The books of one run on one row."""

    async def open(self, *, provider: str, model: str) -> Attempt:
        """Put an attempt on the books, committed, before the call leaves.

        Raises LeaseLost when the row is no longer ours; then the call must not be made.
        """
        ...

    def close(self, attempt: Attempt) -> None:
        """Take back a settled attempt; it is written with the next opening or with the end of the run."""
        ...


class Unrecorded:
    """Keeps nothing: for the live call of `litevault check` and for trying a provider by hand."""

    async def open(self, *, provider: str, model: str) -> Attempt:
        return Attempt(provider=provider, model=model)

    def close(self, attempt: Attempt) -> None:
        """Nothing is kept."""


UNRECORDED = Unrecorded()
