"""Whether a model may be asked now: its provider's gate and its own circuit, opened and reported together."""

from dataclasses import dataclass
from typing import Protocol

from app.errors import LLMAuthRefused, LLMError, LLMTimeout, LLMUnreachable, Remedy
from app.llm.extraction import provider_of
from app.llm.policy import blames_model, is_inconclusive
from app.llm.traffic.breaker import Breaker, CircuitState, Pass
from app.llm.traffic.gate import Admission, ProviderGate, is_provider_wide

# News of the other's probe come sooner; its process may die over it.
_LOOK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Leave:
    """For one call to one model; its end must be reported: success, fault or release."""

    admission: Admission
    circuit: Pass


class ProbeRight(Protocol):
    """Whoever knows whether other processes probe."""

    async def may_probe(self, provider: str) -> bool: ...


class Doors:
    """Of all models of a process; `right` null: no other process probes."""

    def __init__(self, gate: ProviderGate, breaker: Breaker, right: ProbeRight | None = None) -> None:
        self._gate, self._breaker, self._right = gate, breaker, right

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

    async def enter(self, model: str) -> Leave | None:
        """As `admit`; None also where it would be a probe, and another process is at it, or has just found out."""
        leave = self.admit(model)
        if leave is None or self._right is None or not self._gate.is_probe(leave.admission):
            return leave
        may_probe = False
        try:
            may_probe = await self._right.may_probe(leave.admission.provider)
        finally:
            if not may_probe:
                self._gate.put_off(leave.admission, _LOOK_AGAIN_SECONDS)
                self.release(leave)
        return leave if may_probe else None

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
