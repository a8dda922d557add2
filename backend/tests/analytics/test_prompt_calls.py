"""What the calls of a prompt's versions took, counted from the books."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.clock import utc_now
from app.config import Settings
from app.database import Database, first_id, new_id
from app.llm.ledger.attempt_model import LLMAttempt
from app.sweeps.retention import sweeps_of
from app.sweeps.sweeper import sweep_all
from tests.conftest import Json

Book = Callable[..., Awaitable[None]]
CENT = Decimal("0.01")


@pytest.fixture
def book(app: FastAPI) -> Book:
    """Put settled calls of a version of the enrichment prompt on the books."""
    database: Database = app.state.database

    async def put(*rows: dict[str, Any]) -> None:
        now = utc_now()
        same = {
            "lane": "enrichment",
            "user_id": "somebody",
            "claim_seq": 1,
            "provider": "stub",
            "model": "stub",
            "started_at": now,
            "outcome": "OK",
            "prompt_id": "enrichment",
            "prompt_version": 1,
        }
        attempts = [LLMAttempt(**{**same, "id": new_id(), "item_id": new_id(), **row}) for row in rows]
        await database.write(lambda session: session.add_all(attempts))

    return put


async def calls_of_version_1(client: AsyncClient, prompt: str = "enrichment") -> Json:
    return dict((await client.get(f"/llm/prompts/{prompt}/performance")).json()["versions"][-1]["calls"])


async def test_a_version_without_calls_has_no_cost_and_no_latency(client: AsyncClient) -> None:
    found = await calls_of_version_1(client)
    assert (found["made"], found["costUsd"], found["latencyP50Ms"]) == (0, None, None)


async def test_tokens_costs_and_outcomes_are_summed(client: AsyncClient, book: Book) -> None:
    await book(
        {"input_tokens": 100, "output_tokens": 10, "cost_usd": CENT},
        {"input_tokens": 50, "output_tokens": 5, "cost_usd": CENT, "outcome": "INVALID"},
        {"input_tokens": None, "cost_usd": None, "outcome": "ERROR"},
        {"outcome": "UNUSED", "cost_usd": Decimal(0)},
        {"outcome": "CACHED", "cost_usd": Decimal(0)},
        {"outcome": None},
    )
    found = await calls_of_version_1(client)
    assert {name: found[name] for name in ("made", "answeredFromCache", "invalidAnswers", "failed", "unpriced")} == {
        "made": 3,
        "answeredFromCache": 1,
        "invalidAnswers": 1,
        "failed": 1,
        "unpriced": 1,
    }
    assert (found["inputTokens"], found["outputTokens"], found["costUsd"]) == (150, 15, 0.02)


async def test_latencies_are_those_of_whole_answers(client: AsyncClient, book: Book) -> None:
    await book(*({"latency_ms": number} for number in range(1, 101)), {"latency_ms": 9_000, "outcome": "ERROR"})
    found = await calls_of_version_1(client)
    assert (found["latencyP50Ms"], found["latencyP95Ms"]) == (50, 95)


async def test_what_was_folded_stays_in_the_sums_and_since_when_the_rest_is_complete_is_told(
    client: AsyncClient, book: Book, app: FastAPI, settings: Settings
) -> None:
    counts = {"input_tokens": 100, "output_tokens": 10, "cost_usd": CENT}
    old = datetime(2026, 1, 31, 12, tzinfo=UTC)
    then = [{"id": first_id(old) + str(number), "started_at": old} for number in range(3)]
    await book({**counts, **then[0]}, {"outcome": "ERROR", **then[1]}, {"outcome": "CACHED", **then[2]})
    await book({**counts, "latency_ms": 7}, {"outcome": "INVALID"})
    before = await calls_of_version_1(client)
    assert before["detailedSince"] is None
    keeping = settings.model_copy(update={"keep_ledger_days": 1})
    assert (await sweep_all(app.state.database, sweeps_of(keeping), pause_seconds=0))["ledger detail"] == 3
    after = await calls_of_version_1(client)
    assert after == {**before, "detailedSince": "2026-02-01", "failed": 0}
    assert (after["made"], after["costUsd"], after["unpriced"], after["invalidAnswers"]) == (4, 0.02, 2, 1)


async def test_another_prompts_calls_are_not_counted(client: AsyncClient, book: Book) -> None:
    await book({"prompt_id": "query"}, {"prompt_id": None, "prompt_version": None})
    assert (await calls_of_version_1(client))["made"] == 0
    assert (await calls_of_version_1(client, "query"))["made"] == 1
