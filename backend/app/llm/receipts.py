"""Keeps account of one call while it is made: a recorder that passes everything on and remembers it."""

from dataclasses import replace
from decimal import Decimal

from app.llm.attempts import Attempt, AttemptOutcome, AttemptRecorder, Purpose, Saved, Usage
from app.llm.call import AttemptNote, Receipt
from app.llm.meters import Meters


class Account:
    """The recorder of one call over all models it asks. `because` names the reason of the openings that follow."""

    def __init__(self, recorder: AttemptRecorder, purpose: Purpose, meters: Meters) -> None:
        self._recorder, self._meters = recorder, meters
        self._purpose = purpose
        self._opened: list[Attempt] = []

    def because(self, reason: str) -> None:
        self._purpose = replace(self._purpose, reason=reason)

    def may_cost(self, most_usd: Decimal | None) -> None:
        """Each of the openings that follow, at most."""
        self._purpose = replace(self._purpose, most_usd=most_usd)

    async def open(self, *, provider: str, model: str, purpose: Purpose | None = None) -> Attempt:
        attempt = await self._recorder.open(provider=provider, model=model, purpose=purpose or self._purpose)
        self._opened.append(attempt)
        return attempt

    def close(self, attempt: Attempt) -> None:
        self._recorder.close(attempt)
        self._meters.count(attempt)

    async def note_cached(self, *, provider: str, model: str, purpose: Purpose | None = None, saved: Saved) -> Attempt:
        purpose = purpose or replace(self._purpose, most_usd=Decimal(0))
        attempt = await self._recorder.note_cached(provider=provider, model=model, purpose=purpose, saved=saved)
        self._opened.append(attempt)
        self._meters.count(attempt)
        return attempt

    def receipt(
        self, *, provider: str, model: str, prompt: str | None, coverage: float, compressed_tokens: int
    ) -> Receipt:
        """After the answer: the last attempt is the one that gave it."""
        notes = tuple(_note(attempt) for attempt in self._opened)
        usage = notes[-1].usage if notes else Usage()
        cached = bool(notes) and notes[-1].outcome is AttemptOutcome.CACHED
        return Receipt(
            model,
            provider,
            usage,
            self._cost(),
            notes,
            prompt=prompt,
            coverage=coverage,
            cached=cached,
            compressed_tokens=compressed_tokens,
        )

    def _cost(self) -> Decimal | None:
        costs = [attempt.usage.cost_usd for attempt in self._opened]
        known = [cost for cost in costs if cost is not None]
        return sum(known, Decimal(0)) if len(known) == len(costs) else None


def _note(attempt: Attempt) -> AttemptNote:
    reason = attempt.purpose.reason or ""
    return AttemptNote(attempt.provider, attempt.model, reason, attempt.outcome, attempt.error_code, attempt.usage)
