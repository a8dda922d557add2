"""Which fault a call gets: by its marker, its model's script, the common script, the mix, or the default.

Invariant: the fate of a call by marker or mix depends on its text and on how often that text came, never on
the order in which different texts arrive, so a seed gives the same faults to the same notes however the
clients race.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from tests.protocol_server.answers import MARKER, Ask, digest_of
from tests.protocol_server.faults.table import OK, parse_expression

# Faults that a patient client gets over; hangs are left out, because they cost a deadline each.
TRANSIENT_MIX: Mapping[str, float] = {
    "500": 3,
    "503": 2,
    "429": 1,
    "429_retry_after=1": 2,
    "reset": 2,
    "reset_body": 1,
    "invalid_json": 1,
    "html": 1,
    "empty": 1,
    "prose": 1,
    "cut": 1,
    "tags_2": 1,
    "latency=1": 1,
    "slow_body=0.5": 1,
}
# The same for streams: each ends by itself or is broken off, so that a patient client starts anew.
STREAM_MIX: Mapping[str, float] = {
    "500": 2,
    "503": 1,
    "429_retry_after=1": 1,
    "reset": 1,
    "stream_reset=3": 2,
    "stream_end=3": 2,
    "stream_error=3": 2,
    "stream_malformed=3": 1,
    "stream_empty": 1,
    "stream_no_done": 1,
    "stream_slow_first=0.5": 1,
    "html": 1,
    "slow_body=0.5": 1,
}
_FRACTION_BYTES = 7


@dataclass(slots=True, frozen=True)
class Mix:
    """A share `rate` (0 to 1) of the calls gets a fault, drawn by weight; the same seed draws the same. Streams
    have weights of their own.
    """

    rate: float
    seed: int = 0
    weights: Mapping[str, float] = field(default_factory=lambda: TRANSIENT_MIX)
    stream_weights: Mapping[str, float] = field(default_factory=lambda: STREAM_MIX)

    def __post_init__(self) -> None:
        for expression in (*self.weights, *self.stream_weights):
            parse_expression(expression)

    def draw(self, text_digest: str, nth: int, *, is_stream: bool = False) -> str | None:
        """The fault of the nth call with this text, None for no fault."""
        noise = blake2b(f"{self.seed}|{text_digest}|{nth}".encode(), digest_size=2 * _FRACTION_BYTES).digest()
        if _fraction(noise[:_FRACTION_BYTES]) >= self.rate:
            return None
        weights = self.stream_weights if is_stream else self.weights
        left = _fraction(noise[_FRACTION_BYTES:]) * sum(weights.values())
        for expression, weight in weights.items():
            left -= weight
            if left < 0:
                return expression
        return None


class Choice:
    """The scripts, the mix, the default, and how often each text came."""

    def __init__(self, mix: Mix | None = None, default: str = OK) -> None:
        parse_expression(default)
        self._first = (mix, default)
        self.reset()

    def reset(self) -> None:
        self.mix, self.default = self._first
        self._scripts: dict[str | None, deque[str]] = {}
        self._seen: Counter[str] = Counter()

    def add(self, expressions: tuple[str, ...], model: str | None) -> None:
        """Append to the script of the model, or to the common one. Raises UnknownFaultError and adds none."""
        for expression in expressions:
            parse_expression(expression)
        self._scripts.setdefault(model, deque()).extend(expressions)

    def set_default(self, expression: str) -> None:
        parse_expression(expression)
        self.default = expression

    def left(self) -> int:
        """How many faults of the scripts are not yet used."""
        return sum(len(script) for script in self._scripts.values())

    def take(self, ask: Ask) -> str:
        """The fault expression for this call; one from a marker is as it came, not yet parsed."""
        return self._marked(ask) or self._scripted(ask) or self._mixed(ask) or self.default

    def _marked(self, ask: Ask) -> str | None:
        for text in ask.user_texts:
            if "[[fault:" in text and (found := MARKER.search(text)):
                fates = found.group(1).split(",")
                return fates[min(self._count(text), len(fates) - 1)].strip()
        return None

    def _scripted(self, ask: Ask) -> str | None:
        for name in (ask.model, None):
            if script := self._scripts.get(name):
                return script.popleft()
        return None

    def _mixed(self, ask: Ask) -> str | None:
        if self.mix is None:
            return None
        return self.mix.draw(digest_of(ask.first_text), self._count(ask.first_text), is_stream=ask.stream)

    def _count(self, text: str) -> int:
        """How often this text came before; counts this time too."""
        digest = digest_of(text)
        self._seen[digest] += 1
        return self._seen[digest] - 1


def _fraction(noise: bytes) -> float:
    return int.from_bytes(noise) / float(256**_FRACTION_BYTES)
