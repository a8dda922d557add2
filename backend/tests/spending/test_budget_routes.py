"""Budgets over HTTP, and items that wait for them."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from app import clock
from app.accounts.roles import Role
from app.clock import utc_now
from app.config import LLMSettings
from app.errors import BudgetSpent, LLMBudgetExceeded
from app.main import create_app
from app.web import RequestContext, install_error_handlers
from tests.conftest import API, AsUser, Json, code_of, create, make_settings

SYSTEM = {"scope": "system", "period": "month", "limitUsd": "12.5"}
EACH = {"scope": "user", "subject": "*", "period": "day", "limitUsd": "0.000001", "alertsOnly": True}
NOTHING_A_DAY = {"scope": "system", "period": "day", "limitUsd": "0"}


async def put(client: AsyncClient, *budgets: Json) -> list[Json]:
    answer = await client.put("/admin/budgets", json={"budgets": list(budgets)})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["budgets"])


async def test_budgets_are_shown_as_they_were_put(client: AsyncClient) -> None:
    shown = await put(client, EACH, SYSTEM)
    assert shown == (await client.get("/admin/budgets")).json()["budgets"]
    for budget in shown:
        assert budget.pop("resetAt").endswith("Z")
    system = {**SYSTEM, "subject": None, "alertPercents": [80, 100], "alertsOnly": False, "usedUsd": "0"}
    assert shown == [system, {**EACH, "alertPercents": [80, 100], "usedUsd": None}]


async def test_a_put_replaces_all_of_them(client: AsyncClient) -> None:
    await put(client, SYSTEM)
    assert await put(client) == []


@pytest.mark.parametrize(
    ("budgets", "status", "field"),
    [
        ([SYSTEM, SYSTEM], 400, "budgets"),
        ([{**SYSTEM, "subject": "ann"}], 400, "budgets.subject"),
        ([{"scope": "user", "period": "day", "limitUsd": "1"}], 400, "budgets.subject"),
        ([{**SYSTEM, "limitUsd": "-1"}], 422, "budgets.0.limitUsd"),
        ([{**SYSTEM, "limitUsd": "NaN"}], 422, "budgets.0.limitUsd"),
        ([{**SYSTEM, "period": "year"}], 422, "budgets.0.period"),
        ([{**SYSTEM, "alertPercents": [0]}], 422, "budgets.0.alertPercents.0"),
    ],
)
async def test_a_budget_that_is_none_is_refused_by_field(
    client: AsyncClient, budgets: list[Json], status: int, field: str
) -> None:
    answer = await client.put("/admin/budgets", json={"budgets": budgets})
    details = answer.json()["error"]["details"]
    assert answer.status_code == status
    assert field == (details["field"] if status == 400 else details["errors"][0]["field"])


@pytest.fixture
async def working(database_url: str, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """Person a of a server whose worker works; its model has no price."""
    llm = LLMSettings(_env_file=None, provider="litellm", model="openai/unheard-of")
    app = create_app(make_settings(database_url, tmp_path, worker_enabled=True, llm=llm))
    async with (
        app.router.lifespan_context(app),
        AsyncClient(
            transport=ASGITransport(app=app), base_url=f"http://vault.test{API}", headers={"X-Dev-User-Id": "a"}
        ) as client,
    ):
        yield client


async def test_an_item_whose_model_has_no_price_waits_for_its_budget_and_says_why(working: AsyncClient) -> None:
    await put(working, NOTHING_A_DAY)
    item_id = (await create(working))["id"]
    async with asyncio.timeout(60):
        while (shown := (await working.get(f"/items/{item_id}")).json())["waiting"] is None:
            await clock.sleep(0.02)
    assert (shown["status"], shown["enrichment"], shown["enrichmentError"]) == ("ENRICHING", None, None)
    assert shown["waiting"]["code"] == "LLM_BUDGET_EXCEEDED"


async def test_a_direct_call_over_budget_is_429_with_its_figures() -> None:
    app = FastAPI()
    install_error_handlers(app)
    app.add_middleware(RequestContext)
    spent = BudgetSpent(Decimal(2), Decimal("1.5"), utc_now())

    @app.get("/{kind}")
    async def ask(kind: str) -> None:
        raise LLMBudgetExceeded(spent) if kind == "spent" else LLMBudgetExceeded(is_unpriced=True)

    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://x") as client:
        answer, unpriced = await client.get("/spent"), await client.get("/unpriced")
    assert (answer.status_code, code_of(answer)) == (429, "BUDGET_EXCEEDED")
    details = answer.json()["error"]["details"]
    assert (details["limit"], details["used"]) == (2, 1.5) and details["resetAt"].endswith("Z")
    assert "price" in unpriced.json()["error"]["message"]


async def test_operators_see_budgets_and_only_admins_set_them(app: FastAPI, as_user: AsUser) -> None:
    app.state.dev_role = Role.OPERATOR
    assert (await as_user("o").get("/admin/budgets")).status_code == 200
    assert code_of(await as_user("o").put("/admin/budgets", json={"budgets": []})) == "FORBIDDEN"


@pytest.mark.parametrize("body", [{"budgets": [{**SYSTEM, "alertOnly": True}]}, {"budgets": [], "budget": []}])
async def test_a_field_that_is_none_is_refused(client: AsyncClient, body: Json) -> None:
    answer = await client.put("/admin/budgets", json=body)
    assert answer.status_code == 422 and answer.json()["error"]["details"]["errors"][0]["rule"] == "extra_forbidden"
