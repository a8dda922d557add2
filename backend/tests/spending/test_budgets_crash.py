"""Who dies as by `kill -9` with budgets in force: what was reserved for the calls counts as spent, once, and stays."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from app.database import from_pico
from tests.protocol_server.server import ProtocolServer, running_server
from tests.server_process import Json, Processes, Server, change, query, wait_until

pytestmark = pytest.mark.slow
ADMIN = {"X-Dev-User-Id": "root"}
CHAT = {"messages": [{"role": "user", "content": "How many herons are there in Wexford?"}], "max_tokens": 100}
KEY_ID = "key-1"
MUCH = Decimal(1)
# A call that an API key pays, from a process of its own; says by which error it ended.
_WITH_A_KEY = f"""
import asyncio
from app.config import load_settings
from app.database import Database
from app.errors import LLMError
from app.llm.call import Call, Parameters, Spender
from app.llm.gateway import build_gateway

async def ask():
    settings = load_settings()
    database = Database(settings.resolved_database_url)
    await database.start()
    gateway = build_gateway(settings.llm, database=database)
    question = ({{"role": "user", "content": "What does a key cost?"}},)
    spender = Spender("of-the-key", "chat", api_key_id="{KEY_ID}")
    most = Parameters(max_tokens=100)
    call = Call(task="chat", prompt=question, spender=spender, deadline_seconds=60, parameters=most)
    try:
        await gateway.complete(call)
    except LLMError as fault:
        print("ended with", type(fault).__name__)

asyncio.run(ask())
"""


@dataclass
class Bank:
    """A server with budgets, its upstream, and its books as they lie in the database."""

    processes: Processes
    upstream: ProtocolServer
    callers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4))

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "llm_provider": "litellm",
            "llm_api_base": self.upstream.base_url,
            "OPENAI_API_KEY": "sk-canary",
            "llm_concurrency": 8,
            "worker_lease_seconds": 1,
        }

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return query(self.processes.database_url, statement)

    def outcomes(self) -> dict[str | None, int]:
        return dict(self.rows("SELECT outcome, COUNT(*) FROM llm_attempts GROUP BY outcome"))

    def counters(self) -> dict[tuple[str, str], int]:
        """By scope and subject."""
        return {(row[0], row[1]): int(row[2]) for row in self.rows("SELECT scope, subject, spent_usd FROM llm_spend")}

    def ledger(self) -> dict[tuple[str, str], int]:
        """What the counters must be, each from the rows of its own."""
        sums: dict[tuple[str, str], int] = {}
        charges = self.rows("SELECT user_id, api_key_id, COALESCE(cost_usd, reserved_usd) FROM llm_attempts")
        for user_id, key_id, charge in charges:
            for name in (("system", ""), ("user", user_id), *([("key", key_id)] if key_id else [])):
                sums[name] = sums.get(name, 0) + int(charge)
        return sums

    def alerts(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT scope, subject, percent, COUNT(*) FROM spending_alerts GROUP BY scope, subject, percent"
        )

    def called(self) -> set[str | None]:
        return {call.correlation_id for call in self.upstream.calls}

    def booked(self) -> set[str | None]:
        return {row[0] for row in self.rows("SELECT id FROM llm_attempts")}

    def wait_at_upstream(self, calls: int) -> None:
        wait_until(lambda: len(self.upstream.calls) >= calls, f"{calls} calls upstream", seconds=40)

    def ask_in_vain(self, server: Server, path: str, body: Json, user: str) -> "Future[Any]":
        """A request that its server's death cuts off."""
        return self.callers.submit(lambda: server.http.post(path, json=body, **server.as_user(user)))

    def let_leases_run_out(self) -> None:
        url = self.processes.database_url
        change(url, "UPDATE queries SET lease_until = created_at WHERE lease_owner IS NOT NULL AND attempt = 0")
        change(url, "UPDATE llm_attempts SET expires_at = started_at WHERE outcome IS NULL AND expires_at IS NOT NULL")


@pytest.fixture
def bank(processes: Processes) -> Iterator[Bank]:
    with running_server() as upstream:
        bank = Bank(processes, upstream)
        yield bank
        processes.close()
        bank.callers.shutdown()


def id_of(server: Server, user: str) -> str:
    return str(server.http.get("/api/v1/auth/me", **server.as_user(user)).json()["id"])


def put(server: Server, *, ann: str, ann_usd: Decimal, key_usd: Decimal) -> None:
    budgets = [
        {"scope": "system", "period": "month", "limitUsd": str(MUCH)},
        {"scope": "user", "subject": "*", "period": "day", "limitUsd": str(MUCH)},
        {"scope": "user", "subject": ann, "period": "day", "limitUsd": f"{ann_usd:f}"},
        {"scope": "key", "subject": KEY_ID, "period": "month", "limitUsd": f"{key_usd:f}"},
    ]
    answer = server.http.put("/api/v1/admin/budgets", json={"budgets": budgets}, headers=ADMIN)
    assert answer.status_code == 200, answer.text


def begin_calls(bank: Bank, server: Server) -> dict[str, list[str]]:
    """Nine that hang: four items, a query of each kind, two chats, one that a key pays. The items by person."""
    items = {who: [server.post(f"Note {n} of {who} about a heron.", who) for n in range(2)] for who in ("ann", "bob")}
    question = {"messages": CHAT["messages"]}
    asked = server.http.post("/api/v1/llm/query", json={**question, "waitSeconds": 0}, **server.as_user("bob"))
    assert asked.status_code == 202
    bank.ask_in_vain(server, "/api/v1/llm/query/stream", question, "bob")
    bank.ask_in_vain(server, "/v1/chat/completions", {"model": "task:chat", **CHAT}, "bob")
    bank.ask_in_vain(server, "/v1/chat/completions", {"model": "task:chat", "stream": True, **CHAT}, "bob")
    bank.processes.start_script(_WITH_A_KEY, **bank.settings)
    bank.wait_at_upstream(9)
    assert bank.outcomes() == {None: 9}
    return items


def post_what_must_wait(server: Server) -> list[str]:
    late = [server.post(f"Note {n} of ann that comes late.", "ann") for n in range(3)]
    wait_for_money(server, late)
    server.wait_log("budget.threshold_crossed")
    return late


def wait_for_money(server: Server, ids: list[str]) -> None:
    def all_wait() -> bool:
        shown = [server.item(item_id)["waiting"] for item_id in ids]
        return all(waiting and waiting["code"] == "LLM_BUDGET_EXCEEDED" for waiting in shown)

    server.wait_for(all_wait, "items that wait for money", seconds=40)


def check_that_the_key_has_no_money_left(bank: Bank) -> None:
    refused = bank.processes.start_script(_WITH_A_KEY, **bank.settings)
    refused.wait_end(40)
    assert "ended with LLMBudgetExceeded" in refused.log


def test_after_a_crash_the_reserved_is_spent_and_the_counters_are_the_sums_of_the_ledger(bank: Bank) -> None:
    bank.upstream.set_default("hang_body")
    server = bank.processes.start_server(**bank.settings)
    ann = id_of(server, "ann")
    put(server, ann=ann, ann_usd=MUCH, key_usd=MUCH)
    items = begin_calls(bank, server)
    reserved = bank.counters()
    # From here on the money of ann and of the key is reserved to the last.
    left = {"ann_usd": from_pico(reserved["user", ann]), "key_usd": from_pico(reserved["key", KEY_ID])}
    put(server, ann=ann, **left)
    late = post_what_must_wait(server)
    bank.processes.kill_all()
    assert bank.upstream.wait_idle(10)
    assert bank.counters() == bank.ledger() == reserved

    bank.let_leases_run_out()
    bank.upstream.set_default("ok")
    again = bank.processes.start_server(**bank.settings)
    again.wait_status(items["bob"], ["READY_TO_CONFIRM"], seconds=40, user="bob")
    wait_for_money(again, [*items["ann"], *late])
    again.wait_for(lambda: bank.outcomes() == {"IN_DOUBT": 9, "OK": 4}, "the books to be settled")
    assert bank.counters() == bank.ledger()
    assert bank.counters()["user", ann] == reserved["user", ann]
    check_that_the_key_has_no_money_left(bank)

    put(again, ann=ann, ann_usd=MUCH, key_usd=MUCH)
    again.wait_status([*items["ann"], *late], ["READY_TO_CONFIRM"], seconds=40, user="ann")
    again.wait_for(lambda: bank.outcomes() == {"IN_DOUBT": 9, "OK": 9}, "the books to be settled")
    assert bank.counters() == bank.ledger()
    assert bank.called() == bank.booked()
    assert sorted(bank.alerts()) == [("key", KEY_ID, 100, 1), ("user", ann, 100, 1)]
    assert (
        len([line for line in (server.log + again.log).splitlines() if "threshold_crossed" in line and ann in line])
        == 1
    )
