"""Calls that belong to no row are on the books as well: before they leave, and for certain."""

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.clock import utc_now
from app.config import LLMSettings
from app.database import Database
from app.llm.call import Spender
from app.llm.gateway import Gateway, build_gateway
from app.llm.ledger.attempt_model import LLMAttempt
from app.llm.ledger.direct_books import doubt_expired
from app.prompts.registry import as_in_files
from tests.llm.gateway_calls import chat
from tests.llm.recorder import MODEL, llm_settings
from tests.protocol_server.server import ProtocolServer


@pytest.fixture
async def gateway(upstream: ProtocolServer, database: Database) -> Any:
    made = build_gateway(llm_settings(upstream.base_url), database=database)
    yield made
    await made.close()


async def booked(database: Database) -> list[LLMAttempt]:
    query = select(LLMAttempt).order_by(LLMAttempt.id)
    return await database.read(lambda session: list(session.scalars(query)))


async def test_a_chat_is_on_the_books_with_its_purpose(gateway: Gateway, database: Database) -> None:
    spender = Spender(user_id="ann", lane="chat", api_key_id="key")
    answer = await gateway.complete(chat(spender=spender))
    await gateway.close()
    (row,) = await booked(database)
    assert (row.user_id, row.lane, row.api_key_id, row.task, row.claim_seq) == ("ann", "chat", "key", "chat", 0)
    assert (row.provider, row.model, row.outcome) == ("openai", MODEL, "OK")
    assert row.reason == "listed first for standard work"
    assert (row.input_tokens, row.cost_usd) == (answer.receipt.usage.input_tokens, answer.receipt.cost_usd)
    assert row.is_stream is False
    assert row.latency_ms is not None


async def test_a_stream_tells_when_its_first_piece_came(gateway: Gateway, database: Database) -> None:
    async with aclosing(gateway.stream(chat())) as events:
        async for _ in events:
            pass
    await gateway.close()
    (row,) = await booked(database)
    assert row.is_stream is True
    assert row.first_token_ms is not None and row.latency_ms is not None
    assert row.first_token_ms <= row.latency_ms


async def test_the_attempts_of_one_call_stand_together(
    gateway: Gateway, database: Database, upstream: ProtocolServer
) -> None:
    upstream.script("500")
    await gateway.complete(chat())
    await gateway.complete(chat())
    await gateway.close()
    rows = await booked(database)
    assert [row.outcome for row in rows] == ["ERROR", "OK", "OK"]
    assert len({row.item_id for row in rows[:2]}) == 1 != len({row.item_id for row in rows})


async def test_an_attempt_is_committed_before_its_call_leaves(
    gateway: Gateway, database: Database, upstream: ProtocolServer
) -> None:
    upstream.script("hang_headers")
    asking = asyncio.create_task(gateway.complete(chat()))
    while not upstream.calls:
        await asyncio.to_thread(upstream.wait_idle, 0.01)
    (row,) = await booked(database)
    assert row.outcome is None and row.id == upstream.calls[0].correlation_id
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await gateway.close()
    assert [row.outcome for row in await booked(database)] == ["CANCELLED"]


async def test_what_a_dead_process_left_open_is_in_doubt_when_its_call_must_be_over(
    gateway: Gateway, database: Database, upstream: ProtocolServer
) -> None:
    upstream.script("hang_headers")
    asking = asyncio.create_task(gateway.complete(chat()))
    while not upstream.calls:
        await asyncio.to_thread(upstream.wait_idle, 0.01)
    assert await database.write(doubt_expired) == 0
    past = utc_now() - timedelta(seconds=1)
    await database.write(lambda session: session.execute(update(LLMAttempt).values(expires_at=past)))
    assert await database.write(doubt_expired) == 1
    (row,) = await booked(database)
    assert (row.outcome, row.input_tokens) == ("IN_DOUBT", None)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_the_sweep_runs_from_the_start(gateway: Gateway, database: Database) -> None:
    await gateway.complete(chat())
    past = utc_now() - timedelta(seconds=1)
    opened = update(LLMAttempt).values(expires_at=past, outcome=None)
    await gateway.close()
    await database.write(lambda session: session.execute(opened))
    async with gateway.keeping_books(), asyncio.timeout(5):
        while (await booked(database))[0].outcome is None:
            await asyncio.to_thread(lambda: None)
    assert (await booked(database))[0].outcome == "IN_DOUBT"


async def test_enrichment_is_booked_with_its_claim_under_the_same_purpose(upstream: ProtocolServer) -> None:
    settings: LLMSettings = llm_settings(upstream.base_url)
    gateway = build_gateway(settings)
    prompt = as_in_files("development").get("enrichment")
    first = gateway.first_call("enrichment", prompt)
    assert first is not None
    assert (first.provider, first.model) == ("openai", MODEL)
    assert (first.purpose.task, first.purpose.prompt_id) == ("enrichment", "enrichment")
    await gateway.close()
