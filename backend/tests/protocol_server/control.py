"""The control routes, for those who run the server in another process.

GET /control/calls (?since=SEQ), GET /control/stats, GET /control/windows (?seconds=60: the most calls and tokens
in any sliding window), POST /control/reset, POST /control/down ({"fault": "503", "seconds": 2}; `refused` must
have its seconds, since nobody could call it back), POST /control/up, and POST /control/script with any of
{"faults": ["500", "ok"], "model": "name", "default": "ok", "latency_seconds": 0.2, "mix": {"rate": 0.3,
"seed": 1, "weights": {"500": 2}, "stream_weights": {"stream_reset": 1}} or null, "answers": [{"answer": "text"
or {}, "model": "name" or "marker": "name"}], "models": ["name"], "context_tokens": 4096, "listing_fault":
"401"}. Invariant: a request that is refused changes nothing that stands after the offending part.
"""

from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qs, urlsplit

import orjson

from tests.protocol_server.calls import Call
from tests.protocol_server.choice import Mix
from tests.protocol_server.door import REFUSED
from tests.protocol_server.faults.table import parse_expression
from tests.protocol_server.peer import Request
from tests.protocol_server.scripted import Answer
from tests.protocol_server.windows import most_calls, most_tokens
from tests.protocol_server.wires.listings import Offer


class Controllable(Protocol):
    """The part of ProtocolServer that the routes work on."""

    latency_seconds: float
    offer: Offer
    listing_fault: str

    @property
    def calls(self) -> list[Call]: ...
    def script(self, *faults: str, model: str | None = None) -> None: ...
    def answer(self, answer: Answer, *, model: str | None = None, marker: str | None = None) -> None: ...
    def set_default(self, fault: str) -> None: ...
    def go_down(self, fault: str = "503", *, seconds: float | None = None) -> None: ...
    def go_up(self) -> None: ...
    def set_mix(self, mix: Mix | None) -> None: ...
    def reset(self) -> None: ...
    def stats(self) -> dict[str, object]: ...


def answer(server: Controllable, request: Request) -> tuple[int, bytes]:
    """Status and JSON body."""
    target = urlsplit(request.target)
    try:
        found = _look(server, target) if request.method == "GET" else _act(server, target.path, request.body)
    except (ValueError, TypeError, AttributeError) as error:
        return 400, orjson.dumps({"error": str(error)})
    if found is None:
        return 404, orjson.dumps({"error": f"no such control: {request.method} {target.path}"})
    return 200, orjson.dumps(found)


def _look(server: Controllable, target: SplitResult) -> object | None:
    query = parse_qs(target.query)
    match target.path:
        case "/control/calls":
            since = int(query.get("since", ["0"])[0])
            return [call for call in server.calls if call.seq > since]
        case "/control/stats":
            return server.stats()
        case "/control/windows":
            seconds = float(query.get("seconds", ["60"])[0])
            return {"calls": most_calls(server.calls, seconds), "tokens": most_tokens(server.calls, seconds)}
    return None


def _act(server: Controllable, path: str, body: bytes) -> object | None:
    match path:
        case "/control/reset":
            server.reset()
        case "/control/down":
            _put_down(server, **orjson.loads(body or b"{}"))
        case "/control/up":
            server.go_up()
        case "/control/script":
            _apply(server, orjson.loads(body))
            return server.stats()
        case _:
            return None
    return {}


def _put_down(server: Controllable, fault: str = "503", seconds: float | None = None) -> None:
    if fault == REFUSED and seconds is None:
        raise ValueError("who refuses every connection cannot be called up: name the seconds")
    server.go_down(fault, seconds=seconds)


def _apply(server: Controllable, wish: dict[str, Any]) -> None:
    server.script(*wish.get("faults", ()), model=wish.get("model"))
    for answer in wish.get("answers", ()):
        server.answer(**answer)
    if "listing_fault" in wish:
        parse_expression(wish["listing_fault"])
        server.listing_fault = wish["listing_fault"]
    if "models" in wish:
        server.offer.models = [str(name) for name in wish["models"]]
    if "context_tokens" in wish:
        server.offer.context_tokens = int(wish["context_tokens"])
    if "default" in wish:
        server.set_default(wish["default"])
    if "latency_seconds" in wish:
        server.latency_seconds = float(wish["latency_seconds"])
    if "mix" in wish:
        server.set_mix(Mix(**wish["mix"]) if wish["mix"] is not None else None)
