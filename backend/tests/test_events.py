"""Live events: what a listener hears, and that nothing is missed between two connections."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.conftest import API


@pytest.fixture
def caller(server_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server_url}{API}", headers={"X-Dev-User-Id": "a"}, timeout=10) as client:
        yield client


@contextmanager
def listening(caller: httpx.Client, user: str = "a", last_id: str | None = None) -> Iterator[Iterator[dict[str, str]]]:
    headers = {"X-Dev-User-Id": user} | ({"Last-Event-ID": last_id} if last_id else {})
    with caller.stream("GET", "/items/events", headers=headers) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        yield events_in(answer.iter_lines())


def events_in(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(":")
            event[name] = value.strip()
        elif event:
            yield event
            event = {}


def post(caller: httpx.Client, text: str = "x") -> str:
    return str(caller.post("/items", json={"rawText": text}).json()["id"])


def test_a_change_is_heard_with_id_status_and_time(caller: httpx.Client) -> None:
    first = post(caller)
    with listening(caller, last_id="0-0") as events:
        assert json.loads(next(events)["data"])["id"] == first
        caller.patch(f"/items/{first}", json={"action": "discard"})
        heard = next(events)
    data = json.loads(heard["data"])
    assert heard["event"] == "item" and set(data) == {"id", "status", "updatedAt"}
    assert (data["id"], data["status"]) == (first, "DISCARDED") and data["updatedAt"].endswith("Z")


def test_a_listener_goes_on_where_it_left_off(caller: httpx.Client) -> None:
    made = [post(caller) for _ in range(3)]
    with listening(caller, last_id="0-0") as events:
        first = next(events)
    with listening(caller, last_id=first["id"]) as events:
        assert [json.loads(next(events)["data"])["id"] for _ in range(2)] == made[1:]


def test_nobody_hears_of_another_persons_items(caller: httpx.Client) -> None:
    post(caller)
    with listening(caller, user="b", last_id="0-0") as events:
        own = caller.post("/items", json={"rawText": "x"}, headers={"X-Dev-User-Id": "b"}).json()["id"]
        assert json.loads(next(events)["data"])["id"] == own


def test_a_renamed_tag_is_heard_for_each_item_that_shows_it(caller: httpx.Client) -> None:
    tag = caller.post("/tags", json={"name": "t"}).json()["id"]
    item = caller.post("/items", json={"rawText": "x", "enrich": False, "tagIds": [tag]}).json()["id"]
    with listening(caller, last_id="0-0") as events:
        next(events)
        caller.patch(f"/tags/{tag}", json={"name": "u"})
        assert json.loads(next(events)["data"])["id"] == item
