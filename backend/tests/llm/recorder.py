"""An attempt recorder in memory, and the settings and requests that the tests of the model side share."""

from app.config import LLMSettings
from app.enrichment.schemas import EnrichmentSchema
from app.errors import LeaseLost
from app.llm.attempts import UNSAID, Attempt, Purpose, Saved
from app.llm.extraction import Extraction
from tests.protocol_server.calls import Call
from tests.shipped_prompts import messages_for

MODEL = "openai/gpt-4o-mini"
KEY = "sk-canary-4f1d8a90b2c7"
SENTENCE = "The heron of Wexford keeps its silver under the third step."


class Recorder:
    """Keeps attempts in order; from attempt number `lost_at` on, the lease is gone."""

    def __init__(self, lost_at: int | None = None) -> None:
        self.attempts: list[Attempt] = []
        self.closed: list[Attempt] = []
        self.lease_lost = LeaseLost("lost")
        self._lost_at = lost_at

    async def open(self, *, provider: str, model: str, purpose: Purpose = UNSAID) -> Attempt:
        if self._lost_at is not None and len(self.attempts) + 1 >= self._lost_at:
            raise self.lease_lost
        attempt = Attempt(provider=provider, model=model, purpose=purpose)
        self.attempts.append(attempt)
        return attempt

    def close(self, attempt: Attempt) -> None:
        assert attempt.outcome is not None and attempt.ended_at is not None
        self.closed.append(attempt)

    async def note_cached(self, *, provider: str, model: str, purpose: Purpose, saved: Saved) -> Attempt:
        attempt = await self.open(provider=provider, model=model, purpose=purpose)
        attempt.settle_as_cached(saved)
        self.close(attempt)
        return attempt

    @property
    def outcomes(self) -> list[str]:
        return [str(attempt.outcome) for attempt in self.attempts]

    @property
    def tokens(self) -> list[tuple[int | None, int | None]]:
        return [(attempt.usage.input_tokens, attempt.usage.output_tokens) for attempt in self.attempts]


def billed(calls: list[Call]) -> list[tuple[int, int]]:
    return [(call.billed_input_tokens, call.billed_output_tokens) for call in calls]


def llm_settings(base_url: str, **overrides: object) -> LLMSettings:
    values = {"provider": "litellm", "model": MODEL, "api_base": base_url, "OPENAI_API_KEY": KEY, **overrides}
    return LLMSettings.model_validate(values)


def request(
    text: str = SENTENCE, *, model: str = MODEL, timeout_seconds: float = 10.0, max_reasks: int = 2
) -> Extraction[EnrichmentSchema]:
    return Extraction(
        model=model,
        response_model=EnrichmentSchema,
        messages=messages_for(text),
        timeout_seconds=timeout_seconds,
        temperature=0.3,
        max_tokens=500,
        max_reasks=max_reasks,
    )
