"""The circuit breaker, with a clock that stands still until it is turned."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from app.llm.traffic.breaker import Breaker, CircuitState, Pass
from app.llm.traffic.gate import UNLIMITED
from tests.llm.test_gate import Hands

MODEL = "openai/gpt-4o-mini"


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def breaker(hands: Hands) -> Breaker:
    return Breaker(hands)


def admitted(breaker: Breaker) -> Pass:
    leave = breaker.admit(MODEL)
    assert leave is not None
    return leave


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.report_fault(admitted(breaker))


def succeed(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.report_success(admitted(breaker))


def test_it_opens_after_five_faults_in_a_row(breaker: Breaker) -> None:
    fail(breaker, 4)
    assert breaker.allowance(MODEL) == UNLIMITED
    fail(breaker)
    assert (breaker.state(MODEL), breaker.allowance(MODEL)) == (CircuitState.OPEN, 0)
    assert breaker.seconds_until_open(MODEL) == 1
    assert breaker.admit(MODEL) is None


def test_one_good_answer_between_them_keeps_it_closed(breaker: Breaker) -> None:
    fail(breaker, 4)
    succeed(breaker)
    fail(breaker, 4)
    assert breaker.state(MODEL) is CircuitState.CLOSED


def test_other_models_are_not_touched(breaker: Breaker) -> None:
    fail(breaker, 5)
    assert breaker.allowance("openai/other") == UNLIMITED
    assert breaker.seconds_until_open("openai/other") == 0


def test_when_its_time_has_come_exactly_one_probe_passes(breaker: Breaker, hands: Hands) -> None:
    fail(breaker, 5)
    hands.now += 1
    assert breaker.state(MODEL) is CircuitState.HALF_OPEN
    admitted(breaker)
    assert [breaker.admit(MODEL) for _ in range(10)] == [None] * 10
    assert breaker.seconds_until_open(MODEL) == 0


def test_a_failed_probe_doubles_the_wait_up_to_a_quarter_of_a_minute(breaker: Breaker, hands: Hands) -> None:
    fail(breaker, 5)
    waits: list[float] = []
    for _ in range(6):
        waits.append(breaker.seconds_until_open(MODEL))
        hands.now += waits[-1]
        fail(breaker)
    assert waits == [1, 2, 4, 8, 15, 15]


def test_a_probe_that_ends_without_a_verdict_lets_another_one_probe(breaker: Breaker, hands: Hands) -> None:
    fail(breaker, 5)
    hands.now += 1
    probe = admitted(breaker)
    breaker.release(probe)
    assert breaker.allowance(MODEL) == 1


def test_the_traffic_comes_back_step_by_step(breaker: Breaker, hands: Hands) -> None:
    fail(breaker, 5)
    hands.now += 1
    rooms: list[int] = []
    for _ in range(16):
        rooms.append(breaker.allowance(MODEL))
        succeed(breaker)
    assert rooms == [1, *range(1, 16)]
    assert (breaker.state(MODEL), breaker.allowance(MODEL)) == (CircuitState.CLOSED, UNLIMITED)


def test_a_fault_on_the_way_back_opens_it_again(breaker: Breaker, hands: Hands) -> None:
    fail(breaker, 5)
    hands.now += 1
    succeed(breaker, 3)
    assert breaker.state(MODEL) is CircuitState.RETURNING
    fail(breaker)
    assert (breaker.state(MODEL), breaker.seconds_until_open(MODEL)) == (CircuitState.OPEN, 2)


def test_after_a_full_return_it_opens_for_the_short_time_again(breaker: Breaker, hands: Hands) -> None:
    fail(breaker, 5)
    hands.now += 1
    succeed(breaker, 16)
    fail(breaker, 5)
    assert breaker.seconds_until_open(MODEL) == 1


def test_what_left_before_it_opened_proves_nothing(breaker: Breaker, hands: Hands) -> None:
    early = [admitted(breaker) for _ in range(7)]
    for leave in early[:5]:
        breaker.report_fault(leave)
    breaker.report_success(early[5])
    assert breaker.state(MODEL) is CircuitState.OPEN
    hands.now += 1
    admitted(breaker)
    breaker.report_fault(early[6])
    assert breaker.state(MODEL) is CircuitState.HALF_OPEN


def test_the_second_report_of_a_call_counts_for_nothing(breaker: Breaker) -> None:
    leave = admitted(breaker)
    for _ in range(5):
        breaker.report_fault(leave)
    assert breaker.state(MODEL) is CircuitState.CLOSED


def test_the_status_tells_how_each_model_stands(breaker: Breaker, hands: Hands) -> None:
    fail(breaker, 2)
    (status,) = breaker.status()
    assert (status.model, status.state, status.faults_in_a_row) == (MODEL, CircuitState.CLOSED, 2)
    assert status.calls_at_a_time is None
    fail(breaker, 3)
    hands.now += 0.5
    (status,) = breaker.status()
    assert (status.state, status.seconds_until_probe, status.calls_at_a_time) == (CircuitState.OPEN, 0.5, 0)


class BreakerLife(RuleBasedStateMachine):
    """Calls come, end and take their time in any order."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.hands = Hands()
        self.breaker = Breaker(self.hands)
        self.in_flight: dict[int, Pass] = {}
        self.opened = 0

    @rule(seconds=st.floats(0, 40))
    def turn_clock(self, seconds: float) -> None:
        self.hands.now += seconds

    @rule(target=calls)
    def start_call(self) -> Pass | None:
        allowance, state = self.breaker.allowance(MODEL), self.breaker.state(MODEL)
        leave = self.breaker.admit(MODEL)
        assert (leave is None) == (allowance == 0)
        if state is CircuitState.OPEN:
            assert leave is None
        if leave is not None:
            self.in_flight[id(leave)] = leave
        return leave

    @rule(call=consumes(calls))
    def succeed(self, call: Pass | None) -> None:
        if call is not None:
            before = self.breaker.state(MODEL)
            self.breaker.report_success(call)
            self.in_flight.pop(id(call))
            if before in {CircuitState.OPEN, CircuitState.HALF_OPEN} and call.generation < self.opened:
                assert self.breaker.state(MODEL) is before

    @rule(call=consumes(calls))
    def fail(self, call: Pass | None) -> None:
        if call is not None:
            before = self.breaker.state(MODEL)
            self.breaker.report_fault(call)
            self.in_flight.pop(id(call))
            if self.breaker.state(MODEL) is CircuitState.OPEN and before is not CircuitState.OPEN:
                self.opened += 1

    @rule(call=consumes(calls))
    def vanish(self, call: Pass | None) -> None:
        if call is not None:
            before = self.breaker.state(MODEL)
            self.breaker.release(call)
            self.in_flight.pop(id(call))
            assert self.breaker.state(MODEL) is before

    @invariant()
    def never_more_than_it_has_room_for(self) -> None:
        current = [leave for leave in self.in_flight.values() if leave.generation == self.opened]
        state = self.breaker.state(MODEL)
        if state is CircuitState.OPEN:
            assert current == []
        if state is CircuitState.HALF_OPEN:
            assert len(current) <= 1
        if state is CircuitState.RETURNING:
            assert len(current) < 16

    @invariant()
    def nobody_waits_longer_than_a_quarter_of_a_minute(self) -> None:
        assert 0 <= self.breaker.seconds_until_open(MODEL) <= 15


BreakerLife.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBreakerLife = BreakerLife.TestCase
