"""A create request that is sent again makes nothing twice."""

import asyncio
from datetime import timedelta

from fastapi import FastAPI
from httpx import AsyncClient, Response
from sqlalchemy import update

from app.clock import utc_now
from app.items.item_model import IdempotencyKey
from tests.conftest import code_of


async def post(client: AsyncClient, key: str, text: str = "x", **body: object) -> Response:
    return await client.post("/items", json={"rawText": text, **body}, headers={"Idempotency-Key": key})


async def test_the_same_request_again_shows_the_item_as_it_is_now(client: AsyncClient) -> None:
    first = await post(client, "key", enrich=False)
    await client.patch(f"/items/{first.json()['id']}", json={"title": "Changed"})
    again = await post(client, "key", enrich=False)
    assert again.status_code == 201 and again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["id"] == first.json()["id"] and again.json()["title"] == "Changed"
    assert "Idempotency-Replayed" not in first.headers


async def test_another_body_under_the_same_key_is_409(client: AsyncClient) -> None:
    await post(client, "key")
    answer = await post(client, "key", "y")
    assert (answer.status_code, code_of(answer)) == (409, "DUPLICATE_REQUEST")


async def test_equal_requests_at_once_make_one_item(client: AsyncClient) -> None:
    answers = await asyncio.gather(*(post(client, "key") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 9
    assert (await client.get("/items/pending")).json()["total"] == 1


async def test_of_different_bodies_at_once_one_is_made(client: AsyncClient) -> None:
    answers = await asyncio.gather(*(post(client, "key", f"text {n}") for n in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5


async def test_a_refused_request_leaves_its_key_free(client: AsyncClient) -> None:
    assert (await post(client, "key", " ")).status_code == 400
    assert (await post(client, "key", "x", tagIds=["unknown"])).status_code == 400
    answer = await post(client, "key")
    assert answer.status_code == 201 and "Idempotency-Replayed" not in answer.headers


async def test_after_a_day_the_key_is_free(app: FastAPI, client: AsyncClient) -> None:
    first = await post(client, "key")
    age = update(IdempotencyKey).values(created_at=utc_now() - timedelta(hours=24, seconds=1))
    await app.state.database.write(lambda session: session.execute(age))
    again = await post(client, "key", "y")
    assert again.status_code == 201 and again.json()["id"] != first.json()["id"]


async def test_without_a_key_every_request_makes_an_item(client: AsyncClient) -> None:
    made = [await client.post("/items", json={"rawText": "x"}) for _ in range(2)]
    assert made[0].json()["id"] != made[1].json()["id"]
