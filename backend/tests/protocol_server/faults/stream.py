"""Faults that only a stream can have.

The number is that of the chunks of text which come before; with 0, nothing but the headers does. Invariant: a
fault that lets no text out bills nothing; every other bills the whole answer, also where it is then lost.
"""

from tests.protocol_server.faults.plan import FaultTable, Plan, entry
from tests.protocol_server.streams import LEAST_PAUSE_SECONDS, Breach, Dress, Event, Part, Pause, Step, Steps, until

STREAM_FAULTS: FaultTable = {}


def _break_off(plan: Plan, chunks: float, *ends: Step) -> None:
    def edit(steps: Steps, _dress: Dress) -> Steps:
        yield from until(steps, int(chunks))
        yield from ends

    plan.stream_edits.append(edit)
    plan.is_generated = chunks > 0


@entry(STREAM_FAULTS, "stream_reset", default=3)
def _reset(plan: Plan, chunks: float) -> None:
    """A TCP reset after so many chunks."""
    _break_off(plan, chunks, Breach.RESET)


@entry(STREAM_FAULTS, "stream_end", default=3)
def _end(plan: Plan, chunks: float) -> None:
    """A clean end after so many chunks: no finish reason, no end marker."""
    _break_off(plan, chunks)


@entry(STREAM_FAULTS, "stream_stall", default=3)
def _stall(plan: Plan, chunks: float) -> None:
    """Silence after so many chunks, until the client leaves."""
    _break_off(plan, chunks, Breach.SILENCE)


@entry(STREAM_FAULTS, "stream_hang")
def _hang(plan: Plan, _value: float) -> None:
    """Headers at once, then silence until the client leaves."""
    _break_off(plan, 0, Breach.SILENCE)


@entry(STREAM_FAULTS, "stream_empty")
def _empty(plan: Plan, _value: float) -> None:
    """200 and a clean end without a single event."""
    _break_off(plan, 0)


@entry(STREAM_FAULTS, "stream_no_done")
def _no_done(plan: Plan, _value: float) -> None:
    """The whole answer with its finish reason and usage, but no end marker."""

    def edit(steps: Steps, _dress: Dress) -> Steps:
        return (step for step in steps if not (isinstance(step, Event) and step.part is Part.DONE))

    plan.stream_edits.append(edit)


@entry(STREAM_FAULTS, "stream_slow_first", default=1.0)
def _slow_first(plan: Plan, seconds: float) -> None:
    """Headers at once, the first event after so many seconds, then all is well."""

    def edit(steps: Steps, _dress: Dress) -> Steps:
        yield Pause(seconds)
        yield from steps

    plan.stream_edits.append(edit)


@entry(STREAM_FAULTS, "stream_malformed", default=3)
def _malformed(plan: Plan, chunks: float) -> None:
    """After so many chunks one event whose data is broken JSON, then the rest."""

    def edit(steps: Steps, dress: Dress) -> Steps:
        yield from until(steps, int(chunks))
        yield Event(dress.malformed, Part.NOISE)
        yield from steps

    plan.stream_edits.append(edit)


@entry(STREAM_FAULTS, "stream_error", default=3)
def _error(plan: Plan, chunks: float) -> None:
    """After so many chunks an error event (overloaded), then a clean end."""

    def edit(steps: Steps, dress: Dress) -> Steps:
        yield from until(steps, int(chunks))
        yield Event(dress.error, Part.NOISE)

    plan.stream_edits.append(edit)
    plan.is_generated = chunks > 0


@entry(STREAM_FAULTS, "stream_pings", default=0.05)
def _pings(plan: Plan, seconds: float) -> None:
    """Signs of life every so many seconds, and never any text."""

    def edit(_steps: Steps, dress: Dress) -> Steps:
        while True:
            yield Event(dress.ping, Part.NOISE)
            yield Pause(max(seconds, LEAST_PAUSE_SECONDS))

    plan.stream_edits.append(edit)
    plan.is_generated = False


@entry(STREAM_FAULTS, "stream_endless", default=0.01)
def _endless(plan: Plan, seconds: float) -> None:
    """Good text, then more of it every so many seconds until the client leaves; each chunk adds to the bill."""

    def edit(steps: Steps, dress: Dress) -> Steps:
        yield from (step for step in steps if isinstance(step, Event) and step.part in {Part.OPENING, Part.TEXT})
        while True:
            yield Event(dress.filler, Part.TEXT, unbilled_tokens=1)
            yield Pause(max(seconds, LEAST_PAUSE_SECONDS))

    plan.stream_edits.append(edit)


@entry(STREAM_FAULTS, "unstreamed")
def _unstreamed(plan: Plan, _value: float) -> None:
    """The stream that was asked for comes as one JSON body."""
    plan.is_streamed = False
