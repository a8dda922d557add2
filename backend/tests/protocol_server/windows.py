"""What the book says about pace: the most calls or tokens in any sliding window, and the gaps between calls.

Invariant: a window holds its start and not its end, so two calls exactly one window apart are never in the same.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from tests.protocol_server.calls import Call


def most_calls(calls: Sequence[Call], window_seconds: float) -> int:
    return _most(calls, window_seconds, lambda _call: 1)


def most_tokens(calls: Sequence[Call], window_seconds: float) -> int:
    """Prompt and completion tokens as billed, each call at the moment of its arrival."""
    return _most(calls, window_seconds, lambda call: call.billed_input_tokens + call.billed_output_tokens)


def gaps_seconds(calls: Sequence[Call]) -> list[float]:
    """From each arrival to the next one, in order; empty for fewer than two calls."""
    return [later - sooner for sooner, later in pairwise(sorted(call.arrived_monotonic for call in calls))]


def _most(calls: Sequence[Call], window_seconds: float, weigh: Callable[[Call], int]) -> int:
    """The heaviest window ends with a call, so the windows that end so are all that need a look."""
    ordered = sorted(calls, key=lambda call: call.arrived_monotonic)
    first = weight = heaviest = 0
    for call in ordered:
        weight += weigh(call)
        while call.arrived_monotonic - ordered[first].arrived_monotonic >= window_seconds:
            weight -= weigh(ordered[first])
            first += 1
        heaviest = max(heaviest, weight)
    return heaviest
