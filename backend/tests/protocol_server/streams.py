"""A stream before it travels: a sequence of steps, and the edits that spoil one.

Invariant: pure. A wire makes the steps of the good answer, an edit turns steps into other steps, and only
`delivery.py` carries them out. Steps that run out are a clean end of the HTTP body; without a `DONE` event
before it, the client sees an end without the vendor's end marker.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

LEAST_PAUSE_SECONDS = 0.001
_CHUNK_CHARACTERS = 12
_MOST_CHUNKS = 400


class Part(Enum):
    """`CLOSING` holds the finish reason: who got it has the whole answer. `DONE` is the end marker."""

    OPENING = "opening"
    TEXT = "text"
    CLOSING = "closing"
    USAGE = "usage"
    DONE = "done"
    NOISE = "noise"


@dataclass(slots=True, frozen=True)
class Event:
    """`unbilled_tokens` come on top of the bill made when the call arrived: nobody knows how many there will be."""

    data: bytes
    part: Part
    unbilled_tokens: int = 0


@dataclass(slots=True, frozen=True)
class Pause:
    seconds: float


class Breach(Enum):
    """The ends that are none: a TCP reset, or silence until the client leaves."""

    RESET = "reset"
    SILENCE = "silence"


Step = Event | Pause | Breach
Steps = Iterator[Step]


@dataclass(slots=True, frozen=True)
class Dress:
    """What a fault may put into a stream, in the words of the wire: data that is no JSON, an error in
    mid-stream, a sign of life without any text, one more chunk of text.
    """

    malformed: bytes
    error: bytes
    ping: bytes
    filler: bytes


StreamEdit = Callable[[Steps, Dress], Steps]


def chunks_of(text: str) -> list[str]:
    """Twelve characters each, more where a text would have more than 400 chunks; none for an empty text."""
    size = max(_CHUNK_CHARACTERS, -(-len(text) // _MOST_CHUNKS))
    return [text[start : start + size] for start in range(0, len(text), size)]


def until(steps: Steps, chunks: int) -> Steps:
    """The steps up to and including so many chunks of text; for none not even the opening."""
    left = chunks
    while left > 0 and (step := next(steps, None)) is not None:
        yield step
        if isinstance(step, Event) and step.part is Part.TEXT:
            left -= 1


def half(steps: Steps) -> list[Step]:
    whole = list(steps)
    return whole[: len(whole) // 2]


def dribble(steps: Steps, seconds: float) -> Steps:
    """A pause after each event but the last, all pauses together so many seconds."""
    whole = list(steps)
    for step in whole[:-1]:
        yield step
        yield Pause(seconds / len(whole))
    yield from whole[-1:]
