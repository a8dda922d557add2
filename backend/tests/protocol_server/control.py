"""The control routes, for those who run the server in another process.

GET /control/calls (?since=SEQ), GET /control/stats, POST /control/reset, and POST /control/script with any of
{"faults": ["500", "ok"], "model": "name", "default": "ok", "latency_seconds": 0.2, "mix": {"rate": 0.3,
"seed": 1, "weights": {"500": 2}} or null, "answers": [{"answer": "text" or {}, "model": "name" or "marker":
"name"}], "models": ["name"], "context_tokens": 4096}. Invariant: a request that is refused changes nothing that stands
after the offending part.
"""

from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import orjson

from tests.protocol_server.calls import Call
from tests.protocol_server.choice import Mix
from tests.protocol_server.peer import Request
from tests.protocol_server.scripted import Answer
from tests.protocol_server.wires.listings import Offer


class Controllable(Protocol):
    """The part of ProtocolServer that the routes work on."""

    latency_seconds: float
    offer: Offer

    @property
    def calls(self) -> list[Call]: ...
    def script(self, *faults: str, model: str | None = None) -> None: ...
    def answer(self, answer: Answer, *, model: str | None = None, marker: str | None = None) -> None: ...
    def set_default(self, fault: str) -> None: ...
    def set_mix(self, mix: Mix | None) -> None: ...
    def reset(self) -> None: ...
    def stats(self) -> dict[str, object]: ...


def answer(server: Controllable, request: Request) -> tuple[int, bytes]:
    """Status and JSON body."""
    target = urlsplit(request.target)
    try:
        match request.method, target.path:
            case "GET", "/control/calls":
                since = int(parse_qs(target.query).get("since", ["0"])[0])
                return 200, orjson.dumps([call for call in server.calls if call.seq > since])
            case "GET", "/control/stats":
                return 200, orjson.dumps(server.stats())
            case "POST", "/control/reset":
                server.reset()
                return 200, b"{}"
            case "POST", "/control/script":
                _apply(server, orjson.loads(request.body))
                return 200, orjson.dumps(server.stats())
    except (ValueError, TypeError, AttributeError) as error:
        return 400, orjson.dumps({"error": str(error)})
    return 404, orjson.dumps({"error": f"no such control: {request.method} {target.path}"})


def _apply(server: Controllable, wish: dict[str, Any]) -> None:
    server.script(*wish.get("faults", ()), model=wish.get("model"))
    for answer in wish.get("answers", ()):
        server.answer(**answer)
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
