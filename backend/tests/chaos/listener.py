"""Listens to a person's live events through every death of a server, resuming with Last-Event-ID."""

import asyncio
import contextlib
import random
from collections.abc import Sequence

import httpx
import orjson

from tests.chaos.operations import ClientLog, Heard

_RECONNECT_SECONDS = 0.1
# Longer than the server's own ping, so that a silent stream is a stopped server.
_SILENCE_SECONDS = 20.0


async def listen(person: str, servers: Sequence[str], log: ClientLog, rng: random.Random) -> None:
    """Until cancelled. Begins at the very first event."""
    heard = log.heard.setdefault(person, [])
    timeout = httpx.Timeout(5, read=_SILENCE_SECONDS)
    async with httpx.AsyncClient(timeout=timeout) as http:
        while True:
            with contextlib.suppress(httpx.TransportError):
                await _listen_once(http, f"{rng.choice(servers)}/api/v1/items/events", person, heard)
            await asyncio.sleep(_RECONNECT_SECONDS)


async def _listen_once(http: httpx.AsyncClient, url: str, person: str, heard: list[Heard]) -> None:
    place = heard[-1].place if heard else (0, 0)
    headers = {"X-Dev-User-Id": person, "Last-Event-ID": f"{place[0]}-{place[1]}"}
    fields: dict[str, str] = {}
    async with http.stream("GET", url, headers=headers) as answer:
        if answer.status_code != 200:
            return
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            if "id" in fields and "data" in fields:
                tx, _, seq = fields["id"].partition("-")
                body = orjson.loads(fields["data"])
                heard.append(Heard((int(tx), int(seq)), body["id"], body["status"]))
            fields = {}
