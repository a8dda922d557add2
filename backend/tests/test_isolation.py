"""Another person's rows are 404, on every route that takes an id; a route added later is walked by itself."""

import re
from collections.abc import Awaitable, Callable

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from tests.conftest import API, AsUser, Json, code_of

Make = Callable[..., Awaitable[Json]]
BODIES: dict[str, Json] = {
    f"{API}/items/{{item_id}}": {"title": "mine now"},
    f"{API}/tags/{{tag_id}}": {"name": "mine now"},
}
# What operators see belongs to no person: a role decides, and test_roles walks it.
OF_THE_SERVER = (f"{API}/llm/providers", f"{API}/llm/prompts")
ID = re.compile(r"\{(\w+)\}")


@pytest.fixture
async def ids(client: AsyncClient, enriched: Make) -> dict[str, str]:
    """Of person a: by the names of the paths' parameters."""
    tag = (await client.post("/tags", json={"name": "secret tag"})).json()
    item = await enriched("secret proposal", text="secret text", tagIds=[tag["id"]])
    asked = {"messages": [{"role": "user", "content": "secret question"}], "waitSeconds": 0}
    query = (await client.post("/llm/query", json=asked)).json()
    return {"item_id": item["id"], "tag_id": tag["id"], "query_id": query["queryId"]}


async def test_every_route_with_an_id_is_404_for_another_person(
    app: FastAPI, ids: dict[str, str], as_user: AsUser
) -> None:
    walked = 0
    for path, methods in app.openapi()["paths"].items():
        if ID.search(path) is None or path.startswith(OF_THE_SERVER):
            continue
        url = ID.sub(lambda found: ids[found.group(1)], path).removeprefix(API)
        for method in methods:
            answer = await as_user("b").request(method, url, json=BODIES.get(path) if method == "patch" else None)
            assert (answer.status_code, code_of(answer)) == (404, "NOT_FOUND"), (method, path)
            walked += 1
    assert walked >= 7


async def test_nothing_of_a_is_in_any_list_of_b(app: FastAPI, ids: dict[str, str], as_user: AsUser) -> None:
    await as_user("a").patch(f"/items/{ids['item_id']}", json={"action": "confirm"})
    for path, methods in app.openapi()["paths"].items():
        if "get" in methods and ID.search(path) is None and path.startswith(API) and not path.endswith("/events"):
            answer = await as_user("b").get(path.removeprefix(API), params={"q": "secret"})
            assert answer.status_code == 200 and "secret" not in answer.text, path


async def test_a_cannot_be_reached_by_ids_in_b_s_bodies(ids: dict[str, str], as_user: AsUser) -> None:
    b = as_user("b")
    mine = (await b.post("/tags", json={"name": "mine"})).json()["id"]
    own_item = (await b.post("/items", json={"rawText": "x", "enrich": False})).json()["id"]
    tries = [
        await b.post("/items", json={"rawText": "x", "tagIds": [ids["tag_id"]]}),
        await b.patch(f"/items/{own_item}", json={"addedTagIds": [ids["tag_id"]]}),
        await b.post("/tags/merge", json={"sourceTagIds": [ids["tag_id"]], "targetTagId": mine}),
        await b.post("/tags/merge", json={"sourceTagIds": [mine], "targetTagId": ids["tag_id"]}),
    ]
    assert [(answer.status_code, code_of(answer)) for answer in tries] == [(400, "VALIDATION_ERROR")] * 4
    bulk = await b.post("/items/bulk", json={"action": "discard", "ids": [ids["item_id"]]})
    assert bulk.json()["results"][0]["error"]["code"] == "NOT_FOUND"


async def test_a_s_row_is_as_it_was_after_all_that(
    app: FastAPI, client: AsyncClient, ids: dict[str, str], as_user: AsUser
) -> None:
    before = (await client.get(f"/items/{ids['item_id']}")).json()
    await test_every_route_with_an_id_is_404_for_another_person(app, ids, as_user)
    await test_a_cannot_be_reached_by_ids_in_b_s_bodies(ids, as_user)
    assert (await client.get(f"/items/{ids['item_id']}")).json() == before


async def test_b_may_use_the_same_idempotency_key(as_user: AsUser) -> None:
    body, headers = {"rawText": "x"}, {"Idempotency-Key": "same"}
    made = [await as_user(name).post("/items", json=body, headers=headers) for name in ("a", "b")]
    assert made[0].json()["id"] != made[1].json()["id"]
    assert "Idempotency-Replayed" not in made[1].headers


@pytest.mark.parametrize("path", ["/items/pending", "/library", "/search?q=x", "/tags", "/auth/me", "/items/events"])
async def test_nobody_gets_anything_without_saying_who_they_are(as_user: AsUser, path: str) -> None:
    assert (await as_user().get(path)).status_code == 401
