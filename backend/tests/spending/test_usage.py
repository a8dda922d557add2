"""The usage report: its sums are those of the ledger, and what is unknown is counted, not guessed."""

import json
import os
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from httpx import AsyncClient
from sqlalchemy import insert

from app.analytics.usage import GroupBy, usage
from app.cli.commands import UsageBy
from app.clock import utc_now
from app.database import Database, first_id, new_id
from app.llm.ledger.attempt_model import LLMAttempt
from tests.conftest import AsUser

BACKEND = Path(__file__).resolve().parents[2]
Row = dict[str, object]
ROWS: list[Row] = [
    {"user_id": "ann", "outcome": "OK", "cost_usd": Decimal("0.25"), "input_tokens": 10, "output_tokens": 5},
    {"user_id": "ann", "outcome": "ERROR", "cost_usd": None},
    {"user_id": "ann", "outcome": "UNUSED", "cost_usd": Decimal(0), "input_tokens": 0, "output_tokens": 0},
    {
        "user_id": "bob",
        "outcome": "CACHED",
        "cost_usd": Decimal(0),
        "input_tokens": 0,
        "output_tokens": 0,
        "saved_tokens": 40,
        "saved_usd": Decimal("0.125"),
    },
    {"user_id": "bob", "outcome": None, "model": "two", "task": None, "prompt_id": None, "prompt_version": None},
]


async def book(database: Database, *rows: Row) -> None:
    common: Row = {
        **dict.fromkeys(("cost_usd", "input_tokens", "output_tokens", "outcome", "saved_tokens", "saved_usd")),
        "lane": "l",
        "item_id": "i",
        "claim_seq": 0,
        "provider": "p",
        "model": "one",
        "task": "t",
        "prompt_id": "x",
        "prompt_version": 2,
        "started_at": utc_now(),
    }
    values = [{**common, **row} for row in rows]
    for row in values:
        row["id"] = _id_of(row["started_at"])
    await database.write(lambda session: session.execute(insert(LLMAttempt), values))


def _id_of(moment: object) -> str:
    """As if it had been made then."""
    assert isinstance(moment, datetime)
    return first_id(moment) + new_id()[len(first_id(moment)) :]


async def test_the_sums_are_known_costs_with_the_number_of_unknown_ones(database: Database) -> None:
    await book(database, *ROWS)
    today = utc_now().date()
    ann, bob = await database.read(lambda session: usage(session, GroupBy.USER, since=today, until=today))
    assert (ann.name, ann.calls, ann.cached, ann.cost_usd, ann.unknown_costs) == ("ann", 2, 0, Decimal("0.25"), 1)
    assert (ann.input_tokens, ann.output_tokens, ann.unknown_tokens) == (10, 5, 1)
    assert (bob.name, bob.calls, bob.cached, bob.unknown_costs) == ("bob", 1, 1, 1)
    assert (ann.saved_tokens, ann.saved_usd, bob.saved_tokens, bob.saved_usd) == (0, Decimal(0), 40, Decimal("0.125"))


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (GroupBy.KEY, [None]),
        (GroupBy.PROVIDER, ["p"]),
        (GroupBy.MODEL, ["one", "two"]),
        (GroupBy.TASK, [None, "t"]),
        (GroupBy.PROMPT, [None, "x/2"]),
        (GroupBy.DAY, [utc_now().date().isoformat()]),
    ],
)
async def test_it_is_summed_up_by_what_is_asked_for(database: Database, by: GroupBy, names: list[str]) -> None:
    await book(database, *ROWS)
    today = utc_now().date()
    found = await database.read(lambda session: usage(session, by, since=today, until=today))
    assert sorted((entry.name for entry in found), key=lambda name: name or "") == names
    assert sum(entry.calls for entry in found) == 3 and sum(entry.cost_usd for entry in found) == Decimal("0.25")


async def test_a_person_sees_their_own_and_an_operator_all(as_user: AsUser, client: AsyncClient, app: object) -> None:
    database: Database = app.state.database  # type: ignore[attr-defined]
    mine = (await client.get("/auth/me")).json()["id"]
    await book(database, {**ROWS[0], "user_id": mine}, ROWS[0])
    assert [entry["costUsd"] for entry in (await client.get("/usage")).json()["usage"]] == [0.25]
    everybody = (await client.get("/admin/usage", params={"groupBy": "user"})).json()["usage"]
    assert sum(entry["calls"] for entry in everybody) == 2
    assert (await as_user("b").get("/usage")).json()["usage"] == []


async def test_days_in_the_wrong_order_are_refused(client: AsyncClient) -> None:
    answer = await client.get("/usage", params={"from": "2026-02-01", "to": "2026-01-01"})
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, "from")


def test_the_command_takes_what_the_route_takes() -> None:
    assert [entry.value for entry in UsageBy] == [entry.value for entry in GroupBy]


@pytest.mark.parametrize("form", ["--json", "--csv", None])
async def test_the_command_prints_the_same_sums(database: Database, database_url: str, form: str | None) -> None:
    await book(database, *ROWS)
    command = [
        sys.executable,
        "-c",
        "from app.cli.commands import main; main()",
        "usage",
        "--by",
        "model",
        *([form] if form else []),
    ]
    environment = {**os.environ, "LITEVAULT_DATABASE_URL": database_url}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=BACKEND)  # noqa: ASYNC221 - once
    assert "0.25" in done.stdout
    if form == "--json":
        assert [(row["name"], row["calls"]) for row in json.loads(done.stdout)] == [("one", 2), ("two", 1)]
