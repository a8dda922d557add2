"""A server at debug level through every fault and much bad input, each carrying a canary; and what it left behind.

The canaries are a key, a sentence in every text, and what the model answers. Where they may be seen is for the tests
to say.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.llm.test_client_faults import TABLE, Row
from tests.protocol_server.calls import Call
from tests.protocol_server.server import ProtocolServer, running_server
from tests.server_process import Json, Processes, Server, change, query

KEY = "sk-canary-7Qm2hVxT4nZr8Lw"
SENTENCE = "The grey heron sleeps behind Tarnwick boathouse."
# Of the key and of the sentence; the model's title and tags repeat single words of it.
CANARIES = (KEY, "canary-7Qm2", "heron", "Tarnwick", "boathouse")
# Of what the model says, whatever it was asked.
ANSWERS = ("About grey", "Certainly!", "Here you are", "<think>", "I'm sorry", "Endless", "PODCAST", "Network login")
OWNER, OTHER = "ann", "bob"

# A fault that closes the gate for all items is met once, then the call goes well.
_WAITED_FOR = {"429_retry_after": "429_retry_after=0.1,ok", "429_retry_date": "429_retry_date=1,ok"}
_CLOSING = ("401", "403", "429_quota")
_PENDING = "/api/v1/items/pending"


@dataclass
class Evidence:
    """What was left behind: `items` by the fault that each was to meet, answers by what was asked."""

    log: str = ""
    items: dict[str, Json] = field(default_factory=dict)
    refusals: dict[str, httpx.Response] = field(default_factory=dict)
    seen_by_other: dict[str, httpx.Response] = field(default_factory=dict)
    columns: list[tuple[Any, ...]] = field(default_factory=list)
    attempts: list[tuple[Any, ...]] = field(default_factory=list)
    booked: tuple[int, int] = (0, 0)
    calls: list[Call] = field(default_factory=list)


def name_of(row: Row) -> str:
    return row.fault.partition("=")[0]


def go_through_everything(folder: Path, database_url: str) -> Evidence:
    """Takes twenty seconds on an idle machine, a minute on a busy one."""
    evidence = Evidence()
    with running_server() as upstream, _ended(Processes(folder, database_url)) as processes:
        server = _start(processes, upstream)
        _meet_faults(server, evidence)
        _send_bad_input(server, evidence)
        _look_as_other(server, evidence)
        server.stop()
        evidence.log += server.log
        # The gate is closed for half a minute, and longer by each item that probes it.
        change(database_url, "DELETE FROM llm_gates")
        server = _start(processes, upstream)
        _settle(server, evidence, {"403": "403"})
        server.stop()
        evidence.log += server.log
        evidence.calls = upstream.calls
    _read_tables(database_url, evidence)
    return evidence


@contextlib.contextmanager
def _ended(processes: Processes) -> Iterator[Processes]:
    try:
        yield processes
    finally:
        processes.close()


def _start(processes: Processes, upstream: ProtocolServer) -> Server:
    return processes.start_server(
        OPENAI_API_KEY=KEY,
        log_level="debug",
        llm_provider="litellm",
        llm_model="openai/gpt-4o-mini",
        llm_structured_mode="json_schema",
        llm_api_base=upstream.base_url,
        llm_timeout_seconds=5,
        llm_circuit_faults=1000,  # one fault after the other is what this is about
        llm_concurrency=8,
        worker_max_attempts=2,
        worker_backoff_seconds=0.01,
        worker_poll_seconds=0.2,
    )


def _meet_faults(server: Server, evidence: Evidence) -> None:
    """In three parts: what closes the gate for a moment comes after the rest, what closes it for long comes last."""
    names = {name_of(row): row.fault for row in TABLE}
    _settle(server, evidence, {n: f for n, f in names.items() if n not in _WAITED_FOR and n not in _CLOSING})
    _settle(server, evidence, _WAITED_FOR)
    # Both calls are under way when the first one comes back and closes the gate.
    quota = _post(server, "latency=1.5+429_quota")
    _settle(server, evidence, {"401": "latency=0.5+401"})
    server.wait_log("LLM_RATE_LIMITED")
    evidence.items["429_quota"] = server.item(quota, OWNER)


def _post(server: Server, faults: str) -> str:
    return server.post(f"{SENTENCE} [[fault:{faults}]]", OWNER)


def _settle(server: Server, evidence: Evidence, faults: dict[str, str]) -> None:
    """Post an item for each fault and wait until all are final."""
    ids = {name: _post(server, expression) for name, expression in faults.items()}
    server.wait_status(ids.values(), seconds=90, user=OWNER)
    evidence.items.update({name: server.item(item_id, OWNER) for name, item_id in ids.items()})


def _send_bad_input(server: Server, evidence: Evidence) -> None:
    items = "/api/v1/items"
    item_path = f"{items}/{evidence.items['ok']['id']}"
    bodies: dict[str, Any] = {
        "object for text": {"rawText": {"deep": [SENTENCE]}},
        "list for body": [SENTENCE],
        "text for body": SENTENCE,
        "too long": {"rawText": SENTENCE * 300},
        "wrong flag": {"rawText": "x", "enrich": SENTENCE},
        "wrong tag ids": {"rawText": "x", "tagIds": SENTENCE},
        "unknown tag id": {"rawText": "x", "tagIds": [SENTENCE]},
        "NUL": {"rawText": f"{SENTENCE}\x00"},
    }
    sent = {name: _send(server, "POST", items, json=body) for name, body in bodies.items()}
    as_json = {"Content-Type": "application/json"}
    sent |= {
        "broken JSON": _send(server, "POST", items, content=f'{{"rawText": "{SENTENCE}', headers=as_json),
        "surrogate": _send(server, "POST", items, content=f'{{"rawText":"{SENTENCE}\\ud800"}}', headers=as_json),
        "no UTF-8": _send(server, "POST", items, content=SENTENCE.encode() + b'\xff"', headers=as_json),
        "huge": _send(server, "POST", items, content=f'"{SENTENCE * 40_000}"', headers=as_json),
        "media type": _send(server, "POST", items, content=SENTENCE, headers={"Content-Type": SENTENCE}),
        "unknown action": _send(server, "PATCH", item_path, json={"action": SENTENCE}),
        "long title": _send(server, "PATCH", item_path, json={"title": SENTENCE * 20}),
        "wrong path": _send(server, "GET", f"/api/v1/{SENTENCE}/{KEY}"),
        "unknown id": _send(server, "GET", f"{items}/{SENTENCE}"),
        "cursor": _send(server, "GET", "/api/v1/library", params={"cursor": SENTENCE}),
        "limit": _send(server, "GET", _PENDING, params={"limit": SENTENCE}),
        "event id": _send(server, "GET", f"{items}/events", headers={"Last-Event-ID": SENTENCE[:40]}),
        "long user": _send(server, "GET", _PENDING, headers={"X-Dev-User-Id": SENTENCE * 2}),
        "long key": _send(server, "POST", items, json={"rawText": "x"}, headers={"Idempotency-Key": SENTENCE * 20}),
    }
    evidence.refusals = sent
    # These are answered well, and must leave nothing in the log either.
    for path in ("/api/v1/search", "/api/v1/library", "/api/v1/tags"):
        _send(server, "GET", path, params={"q": SENTENCE, "tag": SENTENCE})
    _send(server, "GET", _PENDING, headers={"X-Request-Id": SENTENCE, "Authorization": f"Bearer {KEY}"})
    _send(server, "POST", items, json={"rawText": SENTENCE, "enrich": False}, headers={"Idempotency-Key": SENTENCE})
    _send(server, "POST", items, json={"rawText": "x", "enrich": False, SENTENCE: SENTENCE})
    _send(server, "POST", "/api/v1/tags", json={"name": SENTENCE})


def _send(server: Server, method: str, path: str, **request: Any) -> httpx.Response:
    headers = {"X-Dev-User-Id": OWNER, **request.pop("headers", {})}
    return server.http.request(method, path, headers=headers, **request)


def _look_as_other(server: Server, evidence: Evidence) -> None:
    paths = [_PENDING, "/api/v1/library", "/api/v1/search?q=heron", "/api/v1/tags", "/api/v1/profile"]
    paths += [f"/api/v1/items/{item['id']}" for item in evidence.items.values()]
    for path in paths:
        evidence.seen_by_other[path] = server.http.get(path, **server.as_user(OTHER))
    for item in evidence.items.values():
        path = f"/api/v1/items/{item['id']}"
        for method, target in (("PATCH", path), ("POST", f"{path}/retry")):
            answer = server.http.request(method, target, json={"action": "discard"}, **server.as_user(OTHER))
            evidence.seen_by_other[f"{method} {target}"] = answer


def _read_tables(database_url: str, evidence: Evidence) -> None:
    evidence.columns = query(database_url, "SELECT enrichment_error FROM items")
    evidence.attempts = query(database_url, "SELECT * FROM llm_attempts")
    sums = query(database_url, "SELECT sum(input_tokens), sum(output_tokens) FROM llm_attempts")[0]
    evidence.booked = (int(sums[0]), int(sums[1]))
