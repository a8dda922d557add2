"""What the server needs of a vendor's wire, as a value of functions; `wires/table.py` holds them all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tests.protocol_server.answers import Ask
from tests.protocol_server.faults.plan import Plan
from tests.protocol_server.streams import Dress, Steps


@dataclass(slots=True, frozen=True)
class StreamAnswer:
    """The steps of the good stream, what faults may put into it, and what the whole of it costs."""

    steps: Steps
    dress: Dress
    completion_tokens: int


class ErrorBody(Protocol):
    def __call__(self, message: str, kind: str, code: str | None = None) -> bytes: ...


@dataclass(slots=True, frozen=True)
class Wire:
    """`read_ask` raises ValueError, TypeError, KeyError or AttributeError when the body asks for no completion.
    `completion` gives the body and its completion tokens, `stream` the same answer in steps, `failure` the
    status and the body of the plan's error.
    """

    name: str
    id_prefix: str
    request_id_header: str
    read_ask: Callable[[bytes, Mapping[str, str]], Ask]
    completion: Callable[[Plan, str], tuple[bytes, int]]
    stream: Callable[[Plan, str], StreamAnswer]
    failure: Callable[[Plan], tuple[int, bytes]]
    error_body: ErrorBody
