"""What follows from a fault: pure decisions, read as a table."""

from collections.abc import Sequence

from app.errors import LLMError, Remedy


def most_hopeful(faults: Sequence[LLMError]) -> LLMError:
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
