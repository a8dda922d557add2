"""The circuit breaker: a model that fails again and again is left alone for a while, then tried by one call.

One circuit for each `provider/model`. The clock is handed in and nothing here waits. Invariants: while a circuit is
open nobody passes; when its time has come exactly one probe does; after a good probe the traffic comes back step by
step, and one fault on the way opens it again, for twice as long. What was on its way before it opened proves nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from app.llm.traffic.gate import UNLIMITED

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 15.0
# With this many at a time and no fault among them it is as well as before.
_FULL_RAMP = 16


class CircuitState(StrEnum):
    """HALF_OPEN: one probe may find out. RETURNING: few calls at a time, one more after each good one."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    RETURNING = "returning"


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """The leave for one call. Its end must be reported: success, fault or release; only the first report counts."""

    model: str
    generation: int


@dataclass(frozen=True, slots=True)
class CircuitStatus:
    """For people. `faults_in_a_row` counts up to the opening; `calls_at_a_time` is None while there is no bound."""

    model: str
    state: CircuitState
    faults_in_a_row: int
    seconds_until_probe: float
    calls_at_a_time: int | None


@dataclass(slots=True)
class _Circuit:
    """`generation` grows with each opening; `passes` are the current generation's calls in flight.

    `opens_at` None: closed. `room` 0: no probe has succeeded since the opening.
    """

    passes: set[Pass]
    generation: int = 0
    faults: int = 0
    wait_seconds: float = 0.0
    opens_at: float | None = None
    room: int = 0


class Breaker:
    """All circuits of a process; `clock` tells seconds, `faults_to_open` how many in a row are too many."""

    def __init__(self, clock: Callable[[], float], *, faults_to_open: int = 5) -> None:
        self._clock, self._faults_to_open = clock, faults_to_open
        self._circuits: dict[str, _Circuit] = {}

    def state(self, model: str) -> CircuitState:
        circuit = self._circuits.get(model)
        if circuit is None or circuit.opens_at is None:
            return CircuitState.CLOSED
        if circuit.room:
            return CircuitState.RETURNING
        return CircuitState.OPEN if circuit.opens_at > self._clock() else CircuitState.HALF_OPEN

    def allowance(self, model: str) -> int:
        """How many calls would pass now."""
        circuit = self._circuits.get(model)
        match self.state(model):
            case CircuitState.OPEN:
                return 0
            case CircuitState.HALF_OPEN | CircuitState.RETURNING if circuit is not None:
                return max(0, max(1, circuit.room) - len(circuit.passes))
        return UNLIMITED

    def seconds_until_open(self, model: str) -> float:
        """How long nobody passes yet; 0 when a call may, or when it depends on calls in flight."""
        circuit = self._circuits.get(model)
        if circuit is None or circuit.opens_at is None:
            return 0.0
        return max(0.0, circuit.opens_at - self._clock())

    def admit(self, model: str) -> Pass | None:
        """Leave for one call, None while there is no room."""
        if self.allowance(model) == 0:
            return None
        circuit = self._circuits.setdefault(model, _Circuit(set()))
        leave = Pass(model, circuit.generation)
        circuit.passes.add(leave)
        return leave

    def report_success(self, leave: Pass) -> None:
        """The model answered, whatever it said."""
        circuit = self._ended(leave)
        if circuit is None:
            return
        circuit.faults = 0
        if circuit.opens_at is not None:
            circuit.room += 1
            if circuit.room >= _FULL_RAMP:
                circuit.opens_at, circuit.room, circuit.wait_seconds = None, 0, 0.0

    def report_fault(self, leave: Pass) -> None:
        """The model was silent or broke down."""
        circuit = self._ended(leave)
        if circuit is None:
            return
        circuit.faults += 1
        if circuit.opens_at is not None or circuit.faults >= self._faults_to_open:
            self._open(circuit)

    def release(self, leave: Pass) -> None:
        """The call ended without a verdict: where it was the probe, another may probe."""
        self._ended(leave)

    def status(self) -> list[CircuitStatus]:
        """Every model that was asked so far."""
        return [self._status(model, circuit) for model, circuit in sorted(self._circuits.items())]

    def _status(self, model: str, circuit: _Circuit) -> CircuitStatus:
        bound = None if circuit.opens_at is None else circuit.room
        return CircuitStatus(model, self.state(model), circuit.faults, self.seconds_until_open(model), bound)

    def _ended(self, leave: Pass) -> _Circuit | None:
        """The call's circuit; None when it was reported before, or left before the circuit opened."""
        circuit = self._circuits[leave.model]
        if leave not in circuit.passes:
            return None
        circuit.passes.discard(leave)
        return circuit

    def _open(self, circuit: _Circuit) -> None:
        circuit.wait_seconds = min(max(_FIRST_WAIT_SECONDS, circuit.wait_seconds * 2), _LONGEST_WAIT_SECONDS)
        circuit.opens_at = self._clock() + circuit.wait_seconds
        circuit.generation += 1
        circuit.room = 0
        circuit.passes = set()
