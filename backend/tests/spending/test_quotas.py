"""A daily quota is exact, whatever comes in at the same time, and what was not made does not count."""

import asyncio
from collections import Counter

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from tests.conftest import AsUser, Json, code_of


@pytest.fixture(autouse=True)
def _three_a_day(app: FastAPI) -> None:
    app.state.items_per_day = 3


async def post(client: AsyncClient, text: str = "x", key: str | None = None, **body: object) -> tuple[int, Json]:
    headers = {"Idempotency-Key": key} if key else {}
    answer = await client.post("/items", json={"rawText": text, **body}, headers=headers)
    return answer.status_code, answer.json()


async def test_of_parallel_requests_exactly_as_many_pass_as_may(client: AsyncClient, as_user: AsUser) -> None:
    answers = await asyncio.gather(*(post(client) for _ in range(20)))
    assert Counter(status for status, _ in answers) == {201: 3, 429: 17}
    assert (await client.get("/items/pending")).json()["total"] == 3
    assert (await post(as_user("b")))[0] == 201


async def test_the_refusal_says_the_limit_and_when_it_ends(client: AsyncClient) -> None:
    for _ in range(3):
        await post(client)
    answer = await client.post("/items", json={"rawText": "x"})
    details = answer.json()["error"]["details"]
    assert (code_of(answer), details["limit"], details["used"]) == ("DAILY_QUOTA_EXCEEDED", 3, 3)
    assert details["resetAt"].endswith("T00:00:00Z")


async def test_what_was_not_made_does_not_count(client: AsyncClient) -> None:
    for _ in range(5):
        assert (await post(client, tagIds=["unknown"]))[0] == 400
    assert [(await post(client, key="same"))[0] for _ in range(5)] == [201] * 5
    assert [(await post(client))[0] for _ in range(3)] == [201, 201, 429]
