"""Keeps account of one call while it is made: a recorder that passes everything on and remembers it."""

from decimal import Decimal

from app.llm.attempts import Attempt, AttemptRecorder, Usage
from app.llm.call import AttemptNote, Receipt


class Account:
    """The recorder of one call over all models it asks; the next opening is for the reason named last."""

    def __init__(self, recorder: AttemptRecorder) -> None:
        self._recorder = recorder
        self._reasons: dict[str, str] = {}
        self._opened: list[Attempt] = []
        self.reason = ""

    async def open(self, *, provider: str, model: str) -> Attempt:
        attempt = await self._recorder.open(provider=provider, model=model)
        self._opened.append(attempt)
        self._reasons[attempt.id] = self.reason
        return attempt

    def close(self, attempt: Attempt) -> None:
        self._recorder.close(attempt)

    def receipt(self, *, provider: str, model: str, prompt: str | None, coverage: float = 1.0) -> Receipt:
        """After the answer: the last attempt is the one that gave it."""
        notes = tuple(self._note(attempt) for attempt in self._opened)
        usage = notes[-1].usage if notes else Usage()
        return Receipt(model, provider, usage, self._cost(), notes, prompt=prompt, coverage=coverage)

    def _note(self, attempt: Attempt) -> AttemptNote:
        reason = self._reasons[attempt.id]
        return AttemptNote(attempt.provider, attempt.model, reason, attempt.outcome, attempt.error_code, attempt.usage)

    def _cost(self) -> Decimal | None:
        costs = [attempt.usage.cost_usd for attempt in self._opened]
        known = [cost for cost in costs if cost is not None]
        return sum(known, Decimal(0)) if len(known) == len(costs) else None
