"""The provider gate, with a clock that stands still until it is turned."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from app.errors import (
    LLMAuthRefused,
    LLMError,
    LLMInvalidAnswer,
    LLMRateLimited,
    LLMTimeout,
    LLMUnreachable,
    Remedy,
)
from app.llm.traffic.gate import UNLIMITED, Admission, ProviderGate

NAME = "openai"


class Hands:
    """A clock to be turned."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def gate(hands: Hands) -> ProviderGate:
    return ProviderGate(hands)


def admitted(gate: ProviderGate) -> Admission:
    admission = gate.admit(NAME)
    assert admission is not None
    return admission


@pytest.mark.parametrize(
    ("fault", "wait_seconds"),
    [
        (LLMAuthRefused(), 30),
        (LLMRateLimited(retry_after_seconds=7), 7),
        (LLMRateLimited(retry_after_seconds=86_400), 600),
    ],
)
def test_a_fault_of_the_whole_provider_closes_the_gate_for_its_time(
    fault: LLMError, wait_seconds: float, gate: ProviderGate
) -> None:
    assert gate.report_fault(admitted(gate), fault) is True
    assert gate.seconds_until_open(NAME) == wait_seconds
    assert gate.admit(NAME) is None


@pytest.mark.parametrize("fault", [LLMTimeout(), LLMUnreachable(), LLMInvalidAnswer(), LLMRateLimited()])
def test_a_fault_of_one_call_closes_nothing(fault: LLMError, gate: ProviderGate) -> None:
    assert gate.report_fault(admitted(gate), fault) is False
    assert gate.allowance(NAME) == UNLIMITED


def test_only_the_first_of_several_calls_in_flight_closes_the_gate(gate: ProviderGate) -> None:
    in_flight = [admitted(gate) for _ in range(3)]
    assert [gate.report_fault(call, LLMAuthRefused()) for call in in_flight] == [True, False, False]
    assert gate.seconds_until_open(NAME) == 30


def test_after_its_time_one_probe_may_go_and_its_success_opens(gate: ProviderGate, hands: Hands) -> None:
    gate.report_fault(admitted(gate), LLMAuthRefused())
    hands.now += 30
    assert gate.allowance(NAME) == 1
    probe = admitted(gate)
    assert gate.admit(NAME) is None

    gate.report_success(probe)

    assert gate.allowance(NAME) == UNLIMITED


def test_a_refused_key_waits_twice_as_long_each_time_up_to_five_minutes(gate: ProviderGate, hands: Hands) -> None:
    waits: list[float] = []
    for _ in range(6):
        assert gate.report_fault(admitted(gate), LLMAuthRefused()) is True
        waits.append(gate.seconds_until_open(NAME))
        hands.now += waits[-1]
    assert waits == [30, 60, 120, 240, 300, 300]


def test_a_rate_limited_probe_waits_as_long_as_it_was_told(gate: ProviderGate, hands: Hands) -> None:
    gate.report_fault(admitted(gate), LLMRateLimited(retry_after_seconds=60))
    hands.now += 60
    assert gate.report_fault(admitted(gate), LLMRateLimited(retry_after_seconds=5)) is True
    assert gate.seconds_until_open(NAME) == 5


def test_a_later_time_named_to_a_call_in_flight_counts(gate: ProviderGate) -> None:
    early, late = admitted(gate), admitted(gate)
    gate.report_fault(early, LLMRateLimited(retry_after_seconds=5))
    gate.report_fault(late, LLMRateLimited(retry_after_seconds=9))
    assert gate.seconds_until_open(NAME) == 9


def test_a_late_success_from_before_the_closing_opens_nothing(gate: ProviderGate, hands: Hands) -> None:
    slow = admitted(gate)
    gate.report_fault(admitted(gate), LLMAuthRefused())
    gate.report_success(slow)
    assert gate.admit(NAME) is None
    hands.now += 30
    probe = admitted(gate)
    gate.release(slow)
    assert gate.admit(NAME) is None
    gate.release(probe)
    assert gate.admit(NAME) is not None


@pytest.mark.parametrize(
    ("fault", "allowance"), [(LLMTimeout(), 1), (LLMUnreachable(), 1), (LLMInvalidAnswer(), UNLIMITED)]
)
def test_a_probe_that_was_served_opens_and_one_without_a_verdict_does_not(
    fault: LLMError, allowance: int, gate: ProviderGate, hands: Hands
) -> None:
    gate.report_fault(admitted(gate), LLMAuthRefused())
    hands.now += 30
    gate.report_fault(admitted(gate), fault)
    assert gate.allowance(NAME) == allowance


def test_who_finds_it_closed_is_told_why_and_to_wait(gate: ProviderGate, hands: Hands) -> None:
    assert gate.fault_of(NAME) is None
    gate.report_fault(admitted(gate), LLMAuthRefused(http_status=401))
    hands.now += 10
    fault = gate.fault_of(NAME)
    assert isinstance(fault, LLMAuthRefused)
    assert (fault.remedy, fault.retry_after_seconds, fault.http_status) == (Remedy.WAIT, 20, 401)


def test_the_status_names_the_closed_providers_only(gate: ProviderGate, hands: Hands) -> None:
    assert gate.status() == []
    gate.report_fault(admitted(gate), LLMRateLimited(retry_after_seconds=8))
    assert gate.admit("anthropic") is not None
    hands.now += 3
    (status,) = gate.status()
    assert (status.provider, status.code, status.seconds_until_open) == (NAME, "LLM_RATE_LIMITED", 5)
    assert not status.is_probing


FAULTS = st.sampled_from([LLMAuthRefused, LLMTimeout, LLMUnreachable, LLMInvalidAnswer]).map(lambda kind: kind())
LIMITS = st.floats(0, 5000).map(lambda seconds: LLMRateLimited(retry_after_seconds=seconds))


class GateLife(RuleBasedStateMachine):
    """Calls come, end and take their time in any order."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.hands = Hands()
        self.gate = ProviderGate(self.hands)
        self.probes: set[int] = set()

    @rule(seconds=st.floats(0, 700))
    def turn_clock(self, seconds: float) -> None:
        self.hands.now += seconds

    @rule(target=calls)
    def start_call(self) -> Admission | None:
        allowance = self.gate.allowance(NAME)
        admission = self.gate.admit(NAME)
        assert (admission is None) == (allowance == 0)
        if admission is not None and allowance == 1:
            self.probes.add(id(admission))
        return admission

    @rule(call=consumes(calls))
    def succeed(self, call: Admission | None) -> None:
        if call is not None:
            was_closed = bool(self.gate.status())
            self.gate.report_success(call)
            if was_closed and not self.gate.status():
                assert id(call) in self.probes
            self._over(call)

    @rule(call=consumes(calls), fault=FAULTS | LIMITS)
    def fail(self, call: Admission | None, fault: LLMError) -> None:
        if call is not None:
            is_verdict = not self.gate.status() or id(call) in self.probes
            assert not (self.gate.report_fault(call, fault) and not is_verdict)
            self._over(call)

    @rule(call=consumes(calls))
    def vanish(self, call: Admission | None) -> None:
        if call is not None:
            self.gate.release(call)
            self._over(call)

    def _over(self, call: Admission) -> None:
        self.probes.discard(id(call))

    @invariant()
    def at_most_one_probe_is_under_way(self) -> None:
        if self.gate.status():
            assert self.gate.allowance(NAME) in {0, 1}
            assert sum(status.is_probing for status in self.gate.status()) <= len(self.probes)

    @invariant()
    def nobody_waits_longer_than_ten_minutes(self) -> None:
        assert 0 <= self.gate.seconds_until_open(NAME) < 600.001


GateLife.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestGateLife = GateLife.TestCase
