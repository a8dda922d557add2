"""The one door to every model: extract, complete, stream.

A call goes over the models of its plan, in order, within one deadline. Invariants: nothing is sent that is not on the
books before, and what comes out is a whole, checked answer with its receipt, or an LLMError.
"""

from collections.abc import AsyncIterator

from app import clock
from app.config import LLMSettings
from app.errors import LLMAuthRefused, LLMContentRefused, LLMError, LLMTimeout, Remedy
from app.llm.attempts import UNRECORDED, AttemptRecorder
from app.llm.call import Call, Completion, Extracted, Parameters, StreamEvent
from app.llm.client import LLMClient
from app.llm.extraction import Answer, Extraction, Message, provider_of
from app.llm.gate import UNLIMITED, Admission, ProviderGate, is_provider_wide
from app.llm.policy import most_hopeful
from app.llm.receipts import Account
from app.providers.traffic import Traffic

# With less than this left a call would only cost money.
_SHORTEST_TRY_SECONDS = 0.05


class Gateway:
    """Shared by all callers of a process; to be used from the application's loop."""

    def __init__(self, settings: LLMSettings, client: LLMClient, gate: ProviderGate) -> None:
        self._settings, self._client, self._gate = settings, client, gate

    async def start(self) -> None:
        """Get the vendors' code ready, off the loop. Safe to repeat; a call does it where nobody did."""
        await self._client.start()

    async def close(self) -> None:
        """Drop what is under way. Safe to repeat."""
        await self._client.close()

    async def extract(
        self, call: Call, form: type[Answer], recorder: AttemptRecorder = UNRECORDED
    ) -> Extracted[Answer]:
        """A checked answer in this form.

        Raises an LLMError, or what the recorder raised, LeaseLost above all. A cancellation drops the upstream call
        and settles its attempt first.
        """
        account = Account(recorder)
        deadline = clock.local_seconds() + call.deadline_seconds
        faults: list[LLMError] = []
        at_fault: set[str] = set()
        models = self._models(call)
        for place, model in enumerate(models):
            provider = provider_of(model)
            if provider in at_fault and self._gate.allowance(provider) == 0:
                continue  # this call closed it itself: it is to be told why, not to wait for it
            left = deadline - clock.local_seconds()
            if left < _SHORTEST_TRY_SECONDS:
                faults.append(LLMTimeout())
                break
            account.reason = "first choice" if place == 0 else f"after {faults[-1].code}"
            request = self._request(call, form, model, left / self._open_models(models[place:]))
            outcome = await self._ask(request, account)
            if not isinstance(outcome, LLMError):
                label = None if isinstance(call.prompt, tuple) else call.prompt.label
                return Extracted(outcome, account.receipt(provider=provider, model=model, prompt=label))
            faults.append(outcome)
            at_fault.add(provider)
        raise most_hopeful(faults)

    async def complete(self, call: Call, recorder: AttemptRecorder = UNRECORDED) -> Completion:
        """A whole answer in free form, or tool calls. Raises as `extract` does."""
        raise NotImplementedError

    def stream(self, call: Call, recorder: AttemptRecorder = UNRECORDED) -> AsyncIterator[StreamEvent]:
        """The answer as it comes; the last event is Finished. Raises as `extract` does, then nothing was finished.

        After Restarted everything before it is void. Leaving the iteration (`aclose`) drops the upstream call.
        """
        raise NotImplementedError

    def first_call(self, task: str) -> tuple[str, str] | None:
        """The provider and model that a call of this task will ask first; None when it depends on the call."""
        model = self._task_models(task)[0]
        provider = provider_of(model)
        return (provider, model) if self._gate.allowance(provider) == UNLIMITED else None

    def allowance(self, task: str) -> int:
        """How many calls of this task may be made now; 0 while every provider of its plan is closed."""
        return max(self._gate.allowance(provider_of(model)) for model in self._task_models(task))

    def seconds_until_open(self, task: str) -> float:
        """How long an allowance of 0 lasts at least; 0 when it lasts until a probe under way has ended."""
        return min(self._gate.seconds_until_open(provider_of(model)) for model in self._task_models(task))

    def traffic_of(self, provider: str) -> Traffic:
        """For the provider's status."""
        return self._gate.traffic_of(provider)

    def _models(self, call: Call) -> list[str]:
        return list(call.models) or self._task_models(call.task)

    def _task_models(self, _task: str) -> list[str]:
        return self._settings.models

    def _open_models(self, models: list[str]) -> int:
        """Among how many the rest of the time is shared; a closed one takes none of it."""
        return max(1, sum(self._gate.allowance(provider_of(model)) > 0 for model in models))

    def _request(self, call: Call, form: type[Answer], model: str, timeout_seconds: float) -> Extraction[Answer]:
        settings, wished = self._settings, call.parameters
        return Extraction(
            model=model,
            response_model=form,
            messages=_messages(call, provider_of(model)),
            timeout_seconds=timeout_seconds,
            temperature=_or(wished, "temperature", settings.temperature),
            max_tokens=int(_or(wished, "max_tokens", settings.max_tokens)),
            max_reasks=settings.max_retries,
        )

    async def _ask(self, request: Extraction[Answer], account: Account) -> Answer | LLMError:
        """The answer, or a fault that another model may not have. Raises what none of them can mend."""
        provider = provider_of(request.model)
        admission = self._gate.admit(provider)
        if admission is None:
            return self._gate.fault_of(provider) or LLMTimeout()
        try:
            answer = await self._client.extract(request, account)
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
        """Tell the gate. The call that found a key refused, first or by probing, fails and says so; others wait."""
        has_closed = self._gate.report_fault(admission, fault)
        if is_provider_wide(fault):
            fault.remedy = Remedy.FAIL if has_closed and isinstance(fault, LLMAuthRefused) else Remedy.WAIT
            fault.closed_gate = has_closed
            fault.retry_after_seconds = self._gate.seconds_until_open(admission.provider)


def build_gateway(settings: LLMSettings) -> Gateway:
    """A new one for these settings; nothing is imported or opened before its first use."""
    return Gateway(settings, LLMClient(settings), ProviderGate(clock.local_seconds))


def _messages(call: Call, variant: str) -> tuple[Message, ...]:
    if isinstance(call.prompt, tuple):
        return call.prompt
    return call.prompt.render(variant, call.variables, call.document)


def _or(wished: Parameters, name: str, default: float) -> float:
    value: float | None = getattr(wished, name)
    return default if value is None else value
