"""The provider that asks real models, in the order of the plan, within one deadline.

It keeps nothing of an item: only the gate and the client outlive a call. The gateway (routing, cache, budget)
will take the place of `self._client`, and the loop over the plan goes there with it. The text of an item, at
most 10,000 characters, fits any model: nothing is left out, and coverage is 1.
"""

from app import clock
from app.config import LLMSettings
from app.enrichment.prompts import PROMPT_ID, enrichment_messages
from app.enrichment.schemas import EnrichmentResult, EnrichmentSchema
from app.errors import LLMAuthRefused, LLMContentRefused, LLMError, LLMTimeout, Remedy
from app.llm.attempts import UNRECORDED, AttemptRecorder
from app.llm.client import LLMClient
from app.llm.extraction import Extraction, Message, provider_of
from app.llm.gate import UNLIMITED, Admission, ProviderGate, is_provider_wide
from app.prompts.registry import PromptRegistry

# With less than this left a call would only cost money.
_SHORTEST_TRY_SECONDS = 0.05


class LiteLLMProvider:
    """An `EnrichmentProvider` over litellm and instructor."""

    def __init__(self, settings: LLMSettings, prompts: PromptRegistry, client: LLMClient, gate: ProviderGate) -> None:
        self._settings = settings
        self._prompts = prompts
        self._client = client
        self._gate = gate

    async def start(self) -> None:
        await self._client.start()

    async def close(self) -> None:
        await self._client.close()

    def first_call(self) -> tuple[str, str] | None:
        """None while the plan's first provider is closed: whether a probe or another model is asked depends."""
        model = self._settings.models[0]
        provider = provider_of(model)
        return (provider, model) if self._gate.allowance(provider) == UNLIMITED else None

    def allowance(self) -> int:
        return max(self._gate.allowance(provider_of(model)) for model in self._settings.models)

    def seconds_until_open(self) -> float:
        return min(self._gate.seconds_until_open(provider_of(model)) for model in self._settings.models)

    async def enrich_item(self, text: str, *, attempts: AttemptRecorder = UNRECORDED) -> EnrichmentResult:
        """The first model's answer; the next one's where that fails, but not for a text that was refused."""
        prompt = self._prompts.get(PROMPT_ID)
        deadline = clock.local_seconds() + self._settings.timeout_seconds
        faults: list[LLMError] = []
        at_fault: set[str] = set()
        models = self._settings.models
        for place, model in enumerate(models):
            provider = provider_of(model)
            if provider in at_fault and self._gate.allowance(provider) == 0:
                continue  # this item closed it itself: it is to be told why, not to wait for it
            left = deadline - clock.local_seconds()
            if left < _SHORTEST_TRY_SECONDS:
                faults.append(LLMTimeout())
                break
            messages = enrichment_messages(prompt, text, self._kind_of(provider))
            request = self._request(model, messages, left / self._open_models(models[place:]))
            outcome = await self._ask(request, attempts)
            if isinstance(outcome, EnrichmentSchema):
                return EnrichmentResult(outcome, provider, model, prompt.label)
            faults.append(outcome)
            at_fault.add(provider)
        raise most_hopeful(faults)

    def _kind_of(self, provider: str) -> str:
        """A server of one's own speaks a vendor's API, and runs other models."""
        return "openai_compatible" if self._settings.api_base else provider

    def _open_models(self, models: list[str]) -> int:
        """Among how many the rest of the time is shared; a closed one takes none of it."""
        return max(1, sum(self._gate.allowance(provider_of(model)) > 0 for model in models))

    def _request(
        self, model: str, messages: tuple[Message, ...], timeout_seconds: float
    ) -> Extraction[EnrichmentSchema]:
        settings = self._settings
        return Extraction(
            model=model,
            response_model=EnrichmentSchema,
            messages=messages,
            timeout_seconds=timeout_seconds,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            max_reasks=settings.max_retries,
        )

    async def _ask(
        self, request: Extraction[EnrichmentSchema], attempts: AttemptRecorder
    ) -> EnrichmentSchema | LLMError:
        """The answer, or a fault that another model may not have. Raises what none of them can mend."""
        provider = provider_of(request.model)
        admission = self._gate.admit(provider)
        if admission is None:
            return self._gate.fault_of(provider) or LLMTimeout()
        try:
            answer = await self._client.extract(request, attempts)
        except LLMError as fault:
            self._report(admission, fault)
            if isinstance(fault, LLMContentRefused):
                raise
            return fault
        else:
            self._gate.report_success(admission)
            return answer
        finally:
            self._gate.release(admission)  # also of a cancelled call; without effect where a verdict was reported

    def _report(self, admission: Admission, fault: LLMError) -> None:
        """Tell the gate. The item that found a key refused, first or by probing, fails and says so; others wait."""
        has_closed = self._gate.report_fault(admission, fault)
        if is_provider_wide(fault):
            fault.remedy = Remedy.FAIL if has_closed and isinstance(fault, LLMAuthRefused) else Remedy.WAIT
            fault.closed_gate = has_closed
            fault.retry_after_seconds = self._gate.seconds_until_open(admission.provider)


def most_hopeful(faults: list[LLMError]) -> LLMError:
    """The fault of the whole plan: a transient one if there is any, else the shortest wait, else the first.

    A transient one goes before a wait because it uses up an attempt: a plan with a dead model and a closed
    one would else be asked for ever. For the same reason a wait beside a permanent fault becomes a retry.
    """
    for fault in faults:
        if fault.remedy is Remedy.RETRY:
            return fault
    waits = [fault for fault in faults if fault.remedy is Remedy.WAIT]
    if not waits:
        return faults[0]
    shortest = min(waits, key=lambda fault: fault.retry_after_seconds or 0.0)
    if len(waits) < len(faults):
        shortest.remedy = Remedy.RETRY
    return shortest
