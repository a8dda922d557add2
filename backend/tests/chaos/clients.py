"""People under load: each posts, looks, edits, confirms, discards and retries, and writes down what was answered.

Two actors share a person, so that two changes of one item meet. Invariant: what is not surely answered is written
down as unknown, and a create is sent again under its key until it is answered.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import httpx

from tests.chaos.operations import ClientLog, Operation, Verdict, now

_WORDS = (
    "garden",
    "train",
    "invoice",
    "recipe",
    "harbour",
    "meeting",
    "sketch",
    "violin",
    "forest",
    "market",
    "museum",
)
_TIMEOUT_SECONDS = 2.0
_CREATE_TRIES = 60
_RETRY_SECONDS = 0.25
_LOOK_LIMIT = 30
_BULK_LIMIT = 12


class Person:
    """One user: what is known of the items, shared by both actors. `statuses` may be out of date, on purpose."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.statuses: dict[str, str] = {}

    def items_in(self, *statuses: str) -> list[str]:
        return [item_id for item_id, status in self.statuses.items() if status in statuses]


class Actor:
    """Does one thing after the other until told to stop."""

    def __init__(
        self,
        person: Person,
        name: str,
        http: httpx.AsyncClient,
        servers: Sequence[str],
        log: ClientLog,
        rng: random.Random,
    ) -> None:
        self._person, self._name, self._http, self._servers = person, name, http, servers
        self._log, self._rng = log, rng
        self._made = 0
        self._ways: dict[Callable[[], Awaitable[None]], float] = {
            self._create: 10,
            self._look: 3,
            self._discard: 3,
            self._confirm: 2,
            self._edit: 3,
            self._retry: 3,
            self._unconfirm: 1,
            self._change_many: 1.5,
        }

    async def act_until(self, stop: asyncio.Event, *, pause_seconds: float) -> None:
        while not stop.is_set():
            act = self._rng.choices(list(self._ways), list(self._ways.values()))[0]
            await act()
            await asyncio.sleep(self._rng.expovariate(1 / pause_seconds))

    async def _create(self) -> None:
        self._made += 1
        key = f"{self._name}-{self._made}"
        words = " ".join(self._rng.choices(_WORDS, k=self._rng.randint(3, 60)))
        body = {"rawText": f"Note {key}: {words}", "enrich": self._rng.random() > 0.03}
        twice = self._rng.random() < 0.1
        answers = await asyncio.gather(*(self._post(key, body) for _ in range(2 if twice else 1)))
        item_id = next((answer for answer in answers if answer), None)
        if item_id is not None and self._rng.random() < 0.2:
            # Soon, so that it meets the claim, the call or the finish.
            await asyncio.sleep(self._rng.uniform(0, 0.4))
            await self._change(item_id, "discard", {"action": "discard"})

    async def _post(self, key: str, body: dict[str, Any]) -> str | None:
        """The id of the item; None when no server answered in all the time."""
        sent_at = now()
        for _ in range(_CREATE_TRIES):
            answer = await self._send("POST", "/items", body, {"Idempotency-Key": key})
            if answer is not None and answer.status_code == 201:
                item = answer.json()
                self._person.statuses.setdefault(item["id"], item["status"])
                self._note("create", Verdict.ACKNOWLEDGED, sent_at, item_id=item["id"], key=key)
                return str(item["id"])
            await asyncio.sleep(_RETRY_SECONDS)
        self._note("create", Verdict.UNKNOWN, sent_at, key=key)
        return None

    async def _look(self) -> None:
        answer = await self._send("GET", f"/items/pending?limit={_LOOK_LIMIT}")
        if answer is not None and answer.status_code == 200:
            self._person.statuses.update((item["id"], item["status"]) for item in answer.json()["items"])

    async def _discard(self) -> None:
        if item_id := self._any_of("ENRICHING", "READY_TO_CONFIRM", "FAILED", "ARCHIVED"):
            await self._change(item_id, "discard", {"action": "discard"})

    async def _confirm(self) -> None:
        if item_id := self._any_of("READY_TO_CONFIRM", "FAILED"):
            title = f"Confirmed {self._rng.getrandbits(40):x}"
            await self._change(item_id, "confirm", {"action": "confirm", "title": title}, {"title": title})

    async def _edit(self) -> None:
        if item_id := self._any_of("READY_TO_CONFIRM", "FAILED", "ARCHIVED"):
            mark = f"{self._rng.getrandbits(40):x}"
            body, wanted = self._rng.choice(
                [
                    ({"title": f"Edited {mark}"}, {"title": f"Edited {mark}"}),
                    ({"summary": f"Edited {mark}"}, {"summary": f"Edited {mark}"}),
                    ({"originalText": f"Note edited {mark}"}, {"raw_text": f"Note edited {mark}"}),
                ]
            )
            await self._change(item_id, "edit", body, wanted)

    async def _retry(self) -> None:
        if item_id := self._any_of("FAILED"):
            await self._change_by_route(item_id, "retry")

    async def _unconfirm(self) -> None:
        if item_id := self._any_of("ARCHIVED"):
            await self._change_by_route(item_id, "unconfirm")

    async def _change_many(self) -> None:
        action = self._rng.choices(["confirm", "discard", "retry"], [2, 1, 2])[0]
        known = list(self._person.statuses)[-4 * _BULK_LIMIT :]
        ids = self._rng.sample(known, min(len(known), self._rng.randint(2, _BULK_LIMIT)))
        if not ids:
            return
        sent_at = now()
        answer = await self._send("POST", "/items/bulk", {"action": action, "ids": ids})
        if answer is None or answer.status_code != 200:
            for item_id in ids:
                self._note(action, Verdict.UNKNOWN, sent_at, item_id=item_id)
            return
        for result in answer.json()["results"]:
            status = result.get("status")
            self._note(action, Verdict.ACKNOWLEDGED if status else Verdict.REFUSED, sent_at, item_id=result["id"])
            if status:
                self._person.statuses[result["id"]] = status

    async def _change(
        self, item_id: str, action: str, body: dict[str, Any], wanted: dict[str, str] | None = None
    ) -> None:
        sent_at = now()
        answer = await self._send("PATCH", f"/items/{item_id}", body)
        self._conclude(item_id, action, sent_at, answer, wanted)

    async def _change_by_route(self, item_id: str, action: str) -> None:
        sent_at = now()
        self._conclude(item_id, action, sent_at, await self._send("POST", f"/items/{item_id}/{action}"))

    def _conclude(
        self,
        item_id: str,
        action: str,
        sent_at: datetime,
        answer: httpx.Response | None,
        wanted: dict[str, str] | None = None,
    ) -> None:
        if answer is None or answer.status_code >= 500:
            self._note(action, Verdict.UNKNOWN, sent_at, item_id=item_id, wanted=wanted)
        elif answer.status_code == 200:
            self._person.statuses[item_id] = answer.json()["status"]
            self._note(action, Verdict.ACKNOWLEDGED, sent_at, item_id=item_id, wanted=wanted)
        else:
            if answer.status_code == 409:
                details = answer.json()["error"]["details"] or {}
                self._person.statuses[item_id] = details.get("currentState", "?")
            self._note(action, Verdict.REFUSED, sent_at, item_id=item_id)

    async def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response | None:
        """The answer of one of the servers; None when there was none, and nobody knows what was done."""
        own = {"X-Dev-User-Id": self._person.name, **(headers or {})}
        for server in self._rng.sample(self._servers, len(self._servers)):
            try:
                answer = await self._http.request(method, f"{server}/api/v1{path}", json=body, headers=own)
            except httpx.ConnectError:
                continue  # it was never sent
            except httpx.TransportError:
                return None
            if answer.status_code not in {200, 201, 409, 503}:
                self._log.surprises.append(f"{method} {_route_of(path)} was answered with {answer.status_code}")
            return answer
        return None

    def _any_of(self, *statuses: str) -> str | None:
        found = self._person.items_in(*statuses)
        return self._rng.choice(found) if found else None

    def _note(
        self,
        action: str,
        verdict: Verdict,
        sent_at: datetime,
        *,
        item_id: str | None = None,
        key: str | None = None,
        wanted: dict[str, str] | None = None,
    ) -> None:
        self._log.operations.append(
            Operation(action, self._person.name, verdict, sent_at, now(), item_id, key, wanted or {})
        )


def _route_of(path: str) -> str:
    """The path without its ids, so that equal surprises are counted together."""
    parts = path.partition("?")[0].split("/")
    return "/".join("{id}" if len(part) > 20 else part for part in parts)


def new_http() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
    return httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, limits=limits)
