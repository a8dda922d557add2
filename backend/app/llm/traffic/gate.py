"""The gate before each provider: a fault of the whole provider stops the calls of all items, not of one.

Without it a refused key or a spent quota would burn through the attempts of the whole backlog. The clock is
handed in and nothing here waits. Invariant: of a closed gate whose time has come, one call at a time finds
out how things stand. What other processes found out is adopted (`shared/gate_keeper.py`).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from app.errors import LLMAuthRefused, LLMError, LLMRateLimited, Remedy
from app.providers.traffic import GateState, Traffic

# More calls than anyone has at the same time.
UNLIMITED = 1_000_000

_FIRST_AUTH_SECONDS, _LONGEST_AUTH_SECONDS = 30.0, 300.0
_LONGEST_LIMIT_SECONDS = 600.0


@dataclass(frozen=True, slots=True, eq=False)
class Admission:
    """The leave for one call. Its end must be reported: success, fault or release.

    `generation` tells calls with the provider's key and address of today from those before they were changed.
    """

    provider: str
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Closure:
    """Why a gate is closed and for how long; `wait_seconds` is how long it was closed for."""

    fault: type[LLMError]
    http_status: int | None
    wait_seconds: float
    seconds_until_open: float


@dataclass(frozen=True, slots=True)
class GateStatus:
    """For people: why a provider is closed and for how long yet; `is_probing` while one call finds out."""

    provider: str
    code: str
    seconds_until_open: float
    is_probing: bool


@dataclass(slots=True)
class _Closure:
    fault: type[LLMError]
    http_status: int | None
    wait_seconds: float
    opens_at: float
    probe: Admission | None = None


def is_provider_wide(fault: LLMError) -> bool:
    """Whether other items would meet the same fault now."""
    if isinstance(fault, LLMRateLimited):
        return fault.retry_after_seconds is not None
    return isinstance(fault, LLMAuthRefused)


class ProviderGate:
    """Open until a provider-wide fault is reported, then until a probe succeeds. `clock` tells seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._closures: dict[str, _Closure] = {}
        self._generations: Counter[str] = Counter()
        # Told of each provider whose gate a call of this process has closed, opened or left unprobed.
        self.on_change: Callable[[str], None] = lambda _provider: None

    def seconds_until_open(self, provider: str) -> float:
        """How long the provider is to be left alone yet; 0 when a call may go or a probe is under way."""
        closure = self._closures.get(provider)
        return max(0.0, closure.opens_at - self._clock()) if closure else 0.0

    def allowance(self, provider: str) -> int:
        """How many calls would be admitted now: 0, 1 (the probe) or UNLIMITED."""
        closure = self._closures.get(provider)
        if closure is None:
            return UNLIMITED
        return 0 if closure.probe is not None or closure.opens_at > self._clock() else 1

    def admit(self, provider: str) -> Admission | None:
        """Leave for one call, None while closed."""
        if self.allowance(provider) == 0:
            return None
        admission = Admission(provider, self._generations[provider])
        if closure := self._closures.get(provider):
            closure.probe = admission
        return admission

    def report_success(self, admission: Admission) -> None:
        """The provider served the call. One from before the closing opens nothing: it proves nothing new."""
        if self._probed_by(admission):
            del self._closures[admission.provider]
            self.on_change(admission.provider)

    def is_probe(self, admission: Admission) -> bool:
        return self._probed_by(admission) is not None

    def put_off(self, admission: Admission, seconds: float) -> None:
        """Another process probes: this one asks again after a while, or hears of it before."""
        if closure := self._probed_by(admission):
            closure.probe = None
            closure.opens_at = max(closure.opens_at, self._clock() + seconds)

    def closure_of(self, provider: str) -> Closure | None:
        """None while it is open."""
        if closure := self._closures.get(provider):
            seconds = self.seconds_until_open(provider)
            return Closure(closure.fault, closure.http_status, closure.wait_seconds, seconds)
        return None

    def closed(self) -> list[str]:
        """The providers whose gates are closed."""
        return sorted(self._closures)

    def adopt(self, provider: str, found: Closure | None) -> bool:
        """How another process found it, None is open; whether that opened it. A probe of ours goes on."""
        if found is None:
            return self._closures.pop(provider, None) is not None
        opens_at = self._clock() + found.seconds_until_open
        own = self._closures.get(provider)
        probe = own.probe if own else None
        self._closures[provider] = _Closure(found.fault, found.http_status, found.wait_seconds, opens_at, probe)
        return False

    def forget(self, provider: str) -> None:
        """Its key or address is another one: what calls met until now, and those under way will meet, is of the old."""
        self._generations[provider] += 1
        self._closures.pop(provider, None)

    def release(self, admission: Admission) -> None:
        """The call ended without a verdict on the provider: the next one may probe at once."""
        if closure := self._probed_by(admission):
            closure.probe = None
            self.on_change(admission.provider)

    def report_fault(self, admission: Admission, fault: LLMError) -> bool:
        """Whether this fault closed the gate, newly or again after a probe: that item is told, those after it wait."""
        if is_provider_wide(fault):
            return self._report_closing(admission, fault)
        if fault.remedy is Remedy.FAIL:
            self.report_success(admission)  # it served us, if not as we wished
        else:
            self.release(admission)
        return False

    def fault_of(self, provider: str) -> LLMError | None:
        """What an item is told that finds the gate closed; None when it may be admitted."""
        closure = self._closures.get(provider)
        if closure is None or self.allowance(provider) > 0:
            return None
        wait_seconds = self.seconds_until_open(provider)
        return closure.fault(http_status=closure.http_status, retry_after_seconds=wait_seconds, remedy=Remedy.WAIT)

    def status(self) -> list[GateStatus]:
        """The closed gates."""
        return [
            GateStatus(name, closure.fault.code, self.seconds_until_open(name), closure.probe is not None)
            for name, closure in sorted(self._closures.items())
        ]

    def traffic_of(self, provider: str) -> Traffic:
        """For the provider's status; a gate counts no calls."""
        closure = self._closures.get(provider)
        if closure is None:
            return Traffic(GateState())
        return Traffic(GateState(False, closure.fault.code, self.seconds_until_open(provider)))

    def _report_closing(self, admission: Admission, fault: LLMError) -> bool:
        provider = admission.provider
        if admission.generation != self._generations[provider]:
            return False
        closure = self._closures.get(provider)
        if closure is None:
            self._close(provider, fault, _first_wait(fault))
            return True
        if self._probed_by(admission):
            self._close(provider, fault, _next_wait(closure, fault))
            return True
        if isinstance(fault, LLMRateLimited):
            # A call from before the closing: the provider may have named a later time to it.
            closure.opens_at = max(closure.opens_at, self._clock() + _first_wait(fault))
            self.on_change(provider)
        return False

    def _probed_by(self, admission: Admission) -> _Closure | None:
        closure = self._closures.get(admission.provider)
        return closure if closure is not None and closure.probe is admission else None

    def _close(self, provider: str, fault: LLMError, wait_seconds: float) -> None:
        opens_at = self._clock() + wait_seconds
        self._closures[provider] = _Closure(type(fault), fault.http_status, wait_seconds, opens_at)
        self.on_change(provider)


def _first_wait(fault: LLMError) -> float:
    if isinstance(fault, LLMRateLimited):
        return min(fault.retry_after_seconds or 0.0, _LONGEST_LIMIT_SECONDS)
    return _FIRST_AUTH_SECONDS


def _next_wait(closure: _Closure, fault: LLMError) -> float:
    """After a failed probe: a rate limit names its own time, a refused key waits twice as long as before."""
    if isinstance(fault, LLMRateLimited) or not issubclass(closure.fault, LLMAuthRefused):
        return _first_wait(fault)
    return min(closure.wait_seconds * 2, _LONGEST_AUTH_SECONDS)
