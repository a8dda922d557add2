"""The provider that needs no key and no network: the same text always gives the same enrichment.

For a first look, for tests and for development. By settings it is slow, or fails with any code that an item
can fail with, so that each of them can be seen on a running server.
"""

from decimal import Decimal
from functools import lru_cache
from hashlib import sha256

from app import clock
from app.accounts.privacy import Privacy
from app.config import LLMSettings
from app.enrichment.prompts import PROMPT_ID
from app.enrichment.schemas import EnrichmentResult, EnrichmentSchema
from app.enrichment.stub_text import enrichment_of
from app.errors import LLMError, LLMInvalidAnswer, LLMPrivateText, Remedy, llm_errors
from app.llm.attempts import UNRECORDED, AttemptOutcome, AttemptRecorder, FirstCall, Purpose, Usage
from app.llm.traffic.gate import UNLIMITED
from app.prompts.registry import PromptRegistry

_NAME = "stub"
_FREE = Decimal(0)


class StubProvider:
    """An `EnrichmentProvider` that makes its answers up from the text."""

    def __init__(self, settings: LLMSettings, prompts: PromptRegistry) -> None:
        self._prompts = prompts
        self._delay_seconds = settings.stub_delay_seconds
        self._failure = llm_errors()[settings.stub_failure] if settings.stub_failure else None
        self._failure_rate = settings.stub_failure_rate

    async def start(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to close."""

    def first_call(self) -> FirstCall | None:
        prompt = self._prompts.get(PROMPT_ID)
        return FirstCall(_NAME, _NAME, _purpose(prompt.id, prompt.version))

    def allowance(self) -> int:
        return UNLIMITED

    def seconds_until_open(self) -> float:
        return 0.0

    async def enrich_item(
        self,
        text: str,
        *,
        privacy: Privacy = Privacy.ANY,
        attempts: AttemptRecorder = UNRECORDED,
        user_id: str | None = None,  # noqa: ARG002 - it keeps no answers
    ) -> EnrichmentResult:
        if privacy is Privacy.NONE:  # it runs in this process, so a text that stays at home may be shown to it
            raise LLMPrivateText
        prompt = self._prompts.get(PROMPT_ID)  # that a model would have been given
        attempt = await attempts.open(provider=_NAME, model=_NAME, purpose=_purpose(prompt.id, prompt.version))
        attempt.begin()
        # CANCELLED unless the end is reached: a cancellation during the delay leaves by the same door.
        outcome, usage, error_code = AttemptOutcome.CANCELLED, None, None
        try:
            if self._delay_seconds:
                await clock.sleep(self._delay_seconds)
            fault = self._fault_for(text)
            if fault is not None:
                is_invalid = isinstance(fault, LLMInvalidAnswer)
                outcome = AttemptOutcome.INVALID if is_invalid else AttemptOutcome.ERROR
                error_code = fault.code
                raise fault
            content = enrichment_of(text)
            outcome, usage = AttemptOutcome.OK, _usage(text, content)
        finally:
            attempt.settle(outcome, usage=usage, error_code=error_code)
            attempts.close(attempt)
        return EnrichmentResult(content=content, provider=_NAME, model=_NAME, prompt_version=prompt.label)

    def _fault_for(self, text: str) -> LLMError | None:
        """The fault that this text meets. Never one that waits: it would hide the code one wants to see."""
        if self._failure is None or _share(text) >= self._failure_rate:
            return None
        kind = self._failure
        return kind(remedy=Remedy.FAIL if kind.remedy is Remedy.WAIT else None)


@lru_cache(maxsize=8)
def _purpose(prompt_id: str, version: int) -> Purpose:
    return Purpose("enrichment", "the stub", prompt_id=prompt_id, prompt_version=version, most_usd=_FREE)


def _usage(text: str, content: EnrichmentSchema) -> Usage:
    """Words for tokens, at a price that is known to be nothing."""
    answer = " ".join([content.title, content.summary, *content.tags])
    return Usage(len(text.split()), len(answer.split()), _FREE, _FREE)


def _share(text: str) -> float:
    """Where the text lies between 0 and 1; evenly spread over texts, the same for the same text."""
    digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7]) / 256**7
