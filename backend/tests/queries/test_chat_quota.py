"""The quotas of questions hold for chats too: together with queries, a day and at once, exactly."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy import func, select

from app.accounts.identity import Identity
from app.clock import utc_now
from app.config import LLMSettings, Settings
from app.database import Database
from app.errors import DailyQuotaExceeded
from app.main import create_app
from app.queries.quota import LiveChat, QueryQuota, begin_chat
from tests.conftest import make_settings, served

CHAT, QUERY = "/v1/chat/completions", "/api/v1/llm/query"
SAID: Any = [{"role": "user", "content": "Where does the heron sleep?"}]
AT_ONCE, A_DAY = 2, 5


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Without a worker: a query stays under way. The stub takes its time."""
    llm = LLMSettings(_env_file=None, stub_delay_seconds=0.5)
    return make_settings(database_url, tmp_path, llm=llm, queries_at_once=AT_ONCE, queries_per_day=A_DAY)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[AsyncClient]:
    app = create_app(settings)
    async with app.router.lifespan_context(app), _caller(app) as client:
        yield client


def _caller(app: FastAPI) -> AsyncClient:
    return AsyncClient(transport=ASGITransport(app=app), base_url="http://x", headers={"X-Dev-User-Id": "a"})


async def chat(client: AsyncClient, user: str = "a", **body: object) -> Any:
    asked = {"model": "task:chat", "messages": SAID, **body}
    return await client.post(CHAT, json=asked, headers={"X-Dev-User-Id": user})


async def count(database: Database) -> int:
    query = select(func.count()).select_from(LiveChat)
    return await database.read(lambda session: session.scalars(query).one())


@pytest.mark.parametrize("stream", [False, True])
async def test_of_parallel_chats_as_many_are_taken_as_may_be_under_way(client: AsyncClient, stream: object) -> None:
    answers = await asyncio.gather(*(chat(client, stream=stream) for _ in range(10)), chat(client, "b"))
    assert answers.pop().status_code == 200
    assert Counter(answer.status_code for answer in answers) == {200: AT_ONCE, 429: 10 - AT_ONCE}
    refused = next(answer.json()["error"] for answer in answers if answer.status_code == 429)
    assert (refused["type"], refused["code"]) == ("rate_limit_error", "concurrency_limit_exceeded")
    assert (await chat(client)).status_code == 200  # those made room


async def test_queries_and_chats_count_together(client: AsyncClient) -> None:
    for _ in range(AT_ONCE):
        assert (await client.post(QUERY, json={"messages": SAID, "waitSeconds": 0})).status_code == 202
    assert (await chat(client)).status_code == 429


async def test_a_chat_under_way_keeps_a_query_out(client: AsyncClient, database: Database) -> None:
    chats = [asyncio.create_task(chat(client)) for _ in range(AT_ONCE)]
    async with asyncio.timeout(10):
        while await count(database) < AT_ONCE:
            await asyncio.to_thread(lambda: None)
    answer = await client.post(QUERY, json={"messages": SAID, "waitSeconds": 0})
    assert answer.json()["error"]["details"] == {"limit": AT_ONCE, "active": AT_ONCE}
    assert {(await each).status_code for each in chats} == {200}
    assert await count(database) == 0


async def test_what_was_refused_does_not_count_for_the_day(client: AsyncClient) -> None:
    codes: list[int] = []
    while len(codes) < 3 * A_DAY:
        codes += [answer.status_code for answer in await asyncio.gather(*(chat(client) for _ in range(3)))]
    assert codes.count(200) == A_DAY
    told = (await chat(client)).json()["error"]
    assert (told["type"], told["code"]) == ("rate_limit_error", "daily_quota_exceeded")


async def test_what_a_dead_process_left_behind_counts_no_longer_than_a_call_may_take(
    client: AsyncClient, database: Database
) -> None:
    user_id = (await client.get("/api/v1/auth/me")).json()["id"]
    left = [LiveChat(id=str(number), user_id=user_id, expires_at=utc_now()) for number in range(AT_ONCE)]
    await database.write(lambda session: session.add_all(left))
    assert (await chat(client)).status_code == 200


async def test_without_a_bound_at_once_a_chat_leaves_no_line(database: Database) -> None:
    user_id = await Identity(database, dev_auth=True).user_id_of("a")
    counted = partial(begin_chat, user_id=user_id, quota=QueryQuota(per_day=1), chat_id="one", seconds=1)
    await database.write(counted)
    assert await count(database) == 0
    with pytest.raises(DailyQuotaExceeded):
        await database.write(counted)


def test_the_official_client_is_told_in_its_own_words(settings: Settings, database_url: str) -> None:
    with served(settings.model_copy(update={"queries_per_day": 1})) as url:
        caller = {"X-Dev-User-Id": "a"}
        with openai.OpenAI(base_url=f"{url}/v1", api_key="any", default_headers=caller, max_retries=0) as client:
            client.chat.completions.create(model="task:chat", messages=SAID)
            with pytest.raises(openai.RateLimitError) as caught:
                client.chat.completions.create(model="task:chat", messages=SAID)
    assert caught.value.code == "daily_quota_exceeded"
