"""Whether a model may be asked now: its provider's gate and its own circuit, opened and reported together."""

from dataclasses import dataclass

from app.errors import LLMAuthRefused, LLMError, LLMTimeout, LLMUnreachable, Remedy
from app.llm.extraction import provider_of
from app.llm.policy import blames_model, is_inconclusive
from app.llm.traffic.breaker import Breaker, CircuitState, Pass
from app.llm.traffic.gate import Admission, ProviderGate, is_provider_wide


@dataclass(frozen=True, slots=True)
class Leave:
    """For one call to one model; its end must be reported: success, fault or release."""

    admission: Admission
    circuit: Pass


class Doors:
    """Of all models of a process."""

    def __init__(self, gate: ProviderGate, breaker: Breaker) -> None:
        self._gate, self._breaker = gate, breaker

    def allowance(self, model: str) -> int:
        """How many calls may go now."""
        return min(self._gate.allowance(provider_of(model)), self._breaker.allowance(model))

    def seconds_until_open(self, model: str) -> float:
        """How long an allowance of 0 lasts at least; 0 when it lasts until a probe under way has ended."""
        return max(self._gate.seconds_until_open(provider_of(model)), self._breaker.seconds_until_open(model))

    def admit(self, model: str) -> Leave | None:
        """Leave for one call, None while closed."""
        admission = self._gate.admit(provider_of(model))
        if admission is None:
            return None
        circuit = self._breaker.admit(model)
        if circuit is None:
            self._gate.release(admission)
            return None
        return Leave(admission, circuit)

    def fault_of(self, model: str) -> LLMError:
        """What a call is told that finds the model closed: to wait, and for how long."""
        told = self._gate.fault_of(provider_of(model))
        wait_seconds = self._breaker.seconds_until_open(model)
        if told is None and self._breaker.state(model) is not CircuitState.CLOSED:
            return LLMUnreachable(retry_after_seconds=wait_seconds, remedy=Remedy.WAIT)
        return told or LLMTimeout()

    def report_success(self, leave: Leave) -> None:
        self._gate.report_success(leave.admission)
        self._breaker.report_success(leave.circuit)

    def report_fault(self, leave: Leave, fault: LLMError, *, counts: bool = True) -> None:
        """The call that found a key refused, first or by probing, fails and says so; others wait.

        `counts` false: the fault says nothing of the model, for example because its caller gave it no time.
        """
        has_closed = self._gate.report_fault(leave.admission, fault)
        if is_provider_wide(fault):
            fault.remedy = Remedy.FAIL if has_closed and isinstance(fault, LLMAuthRefused) else Remedy.WAIT
            fault.closed_gate = has_closed
            fault.retry_after_seconds = self._gate.seconds_until_open(leave.admission.provider)
        if is_inconclusive(fault) or not counts:
            self._breaker.release(leave.circuit)
        elif blames_model(fault):
            self._breaker.report_fault(leave.circuit)
        else:
            self._breaker.report_success(leave.circuit)

    def release(self, leave: Leave) -> None:
        """The call ended without a verdict; without effect where one was reported."""
        self._gate.release(leave.admission)
        self._breaker.release(leave.circuit)
