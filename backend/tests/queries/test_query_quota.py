"""How many queries a person may ask, a day and at once, also when they come in together."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from httpx import AsyncClient

from app.config import Settings
from tests.conftest import AsUser, code_of, make_settings
from tests.queries.conftest import ASKED, QUERY, ask


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Without a worker, so that what is asked stays under way."""
    return make_settings(database_url, tmp_path, queries_at_once=2, queries_per_day=4)


async def test_of_parallel_queries_as_many_are_taken_as_may_be_under_way(client: AsyncClient, as_user: AsUser) -> None:
    answers = await asyncio.gather(*(ask(client, waitSeconds=0) for _ in range(10)))
    assert Counter(answer.status_code for answer in answers) == {202: 2, 429: 8}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert code_of(refused) == "CONCURRENCY_LIMIT_EXCEEDED"
    assert refused.json()["error"]["details"] == {"limit": 2, "active": 2}
    assert (await ask(as_user("b"), waitSeconds=0)).status_code == 202


async def test_one_that_has_ended_makes_room_and_refused_ones_do_not_count_for_the_day(client: AsyncClient) -> None:
    codes = []
    for _ in range(4):
        answer = await ask(client, waitSeconds=0)
        await ask(client, waitSeconds=0)
        codes.append(code_of(await ask(client, waitSeconds=0)))
        if answer.status_code == 202:
            await client.delete(f"{QUERY}/{answer.json()['queryId']}")
    assert codes[0] == "CONCURRENCY_LIMIT_EXCEEDED"
    assert codes[-1] == "DAILY_QUOTA_EXCEEDED"


async def test_a_streamed_query_counts_too(client: AsyncClient) -> None:
    for _ in range(2):
        await ask(client, waitSeconds=0)
    answer = await client.post(f"{QUERY}/stream", json=ASKED)
    assert (answer.status_code, code_of(answer)) == (429, "CONCURRENCY_LIMIT_EXCEEDED")
