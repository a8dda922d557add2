"""The provider that asks real models, through the gateway.

The text of an item, at most 10,000 characters, fits all but small local models; coverage says what one was shown.
"""

from app.accounts.privacy import Privacy
from app.config import LLMSettings
from app.enrichment.prompts import BOUNDS, PROMPT_ID
from app.enrichment.schemas import EnrichmentResult, EnrichmentSchema
from app.llm.attempts import UNRECORDED, AttemptRecorder, FirstCall
from app.llm.call import CacheScope, Call, Parameters, Spender
from app.llm.gateway import Gateway, build_gateway
from app.prompts.registry import PromptRegistry

_TASK = "enrichment"


class LiteLLMProvider:
    """An `EnrichmentProvider` over a gateway: one that it shares, which others close, or one of its own."""

    def __init__(self, settings: LLMSettings, prompts: PromptRegistry, shared: Gateway | None = None) -> None:
        self._prompts = prompts
        self._gateway = shared or build_gateway(settings)
        self._is_own = shared is None
        self._deadline_seconds = settings.timeout_seconds
        self._parameters = Parameters(temperature=settings.temperature, max_tokens=settings.max_tokens)

    async def start(self) -> None:
        await self._gateway.start()

    async def close(self) -> None:
        if self._is_own:
            await self._gateway.close()

    def first_call(self) -> FirstCall | None:
        return self._gateway.first_call(_TASK, self._prompts.get(PROMPT_ID))

    def allowance(self) -> int:
        return self._gateway.allowance(_TASK)

    def seconds_until_open(self) -> float:
        return self._gateway.seconds_until_open(_TASK)

    async def enrich_item(
        self,
        text: str,
        *,
        privacy: Privacy = Privacy.ANY,
        attempts: AttemptRecorder = UNRECORDED,
        user_id: str | None = None,
    ) -> EnrichmentResult:
        prompt = self._prompts.get(PROMPT_ID)
        call = Call(
            task=_TASK,
            prompt=prompt,
            variables=BOUNDS,
            document=text,
            spender=Spender(user_id=user_id or "", lane=_TASK),
            deadline_seconds=self._deadline_seconds,
            privacy=privacy,
            parameters=self._parameters,
            cache=CacheScope.OFF if user_id is None else CacheScope.PERSON,
            is_queued=True,
        )
        answer = await self._gateway.extract(call, EnrichmentSchema, attempts)
        receipt = answer.receipt
        return EnrichmentResult(
            answer.content,
            receipt.provider,
            receipt.model,
            prompt.label,
            coverage=receipt.coverage,
            cached=receipt.cached,
        )
