"""What `/metrics` tells: as Prometheus reads it, equal to what the upstream counted, and nothing about anybody."""

from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from prometheus_client.parser import text_string_to_metric_families as families

from app.accounts.roles import Role
from tests.conftest import code_of
from tests.protocol_server.server import running_server
from tests.queries.upstream import CALLER, MODEL, SECOND, served_over
from tests.server_process import wait_until

QUESTION = "Where does the heron sleep?"


def scraped(text: str) -> dict[str, dict[frozenset[str], float]]:
    """Value by the values of its labels, by name of the metric."""
    found: dict[str, dict[frozenset[str], float]] = {}
    for family in families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.values())] = sample.value
    return found


def ask(url: str, text: str, **changes: Any) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": text}], **changes}
    return httpx.post(f"{url}/api/v1/llm/query", json=body, headers=CALLER, timeout=30)


def is_ready(api: httpx.Client, path: str) -> bool:
    return bool(api.get(path).json()["status"] == "READY_TO_CONFIRM")


def test_calls_tokens_cost_and_latency_are_what_the_upstream_counted(database_url: str, tmp_path: Path) -> None:
    with running_server() as upstream, served_over(upstream, database_url, tmp_path) as url:
        upstream.script("400")
        asked = [ask(url, f"{QUESTION} {number}") for number in range(4)]
        assert [answer.json().get("usage") is not None for answer in asked].count(True) == 3
        seen = scraped(httpx.get(f"{url}/metrics", headers=CALLER).text)
        kind = {"openai", MODEL, "query"}
        assert seen["litevault_llm_calls_total"][frozenset({*kind, "OK", ""})] == 3
        failed = [key for key in seen["litevault_llm_calls_total"] if "ERROR" in key]
        assert len(failed) == 1 and len(upstream.calls) == 4
        usages = [answer.json()["usage"] for answer in asked if answer.json().get("usage")]
        tokens = seen["litevault_llm_tokens_total"]
        assert tokens[frozenset({*kind, "input"})] == sum(usage["inputTokens"] for usage in usages) > 0
        assert tokens[frozenset({*kind, "output"})] == sum(usage["outputTokens"] for usage in usages) > 0
        spent = sum(float(answer.json()["costUsd"]) for answer in asked if answer.json().get("costUsd"))
        assert seen["litevault_llm_cost_usd_total"][frozenset(kind)] == pytest.approx(spent) and spent > 0
        assert seen["litevault_llm_call_seconds_count"][frozenset(kind)] == 4
        assert seen["litevault_llm_call_seconds_bucket"][frozenset({*kind, "+Inf"})] == 4


def test_a_circuit_that_opened_and_a_key_that_was_refused_are_seen(database_url: str, tmp_path: Path) -> None:
    with running_server() as upstream, served_over(upstream, database_url, tmp_path) as url:
        upstream.set_default("500")
        for number in range(4):
            ask(url, f"{QUESTION} {number}")
        seen = scraped(httpx.get(f"{url}/metrics", headers=CALLER).text)
        assert seen["litevault_llm_circuit_state"][frozenset({MODEL, "closed"})] == 0
        assert seen["litevault_llm_circuit_state"][frozenset({SECOND, "closed"})] == 0
        assert seen["litevault_llm_gate_open"][frozenset({"openai"})] == 1
    with running_server() as upstream, served_over(upstream, database_url, tmp_path) as url:
        upstream.set_default("401")
        ask(url, QUESTION)
        seen = scraped(httpx.get(f"{url}/metrics", headers=CALLER).text)
        assert seen["litevault_llm_gate_open"][frozenset({"openai"})] == 0


def test_an_answer_from_the_cache_counts_as_saved_and_not_as_spent(database_url: str, tmp_path: Path) -> None:
    with running_server() as upstream, served_over(upstream, database_url, tmp_path, cache_seconds=60) as url:
        with httpx.Client(base_url=f"{url}/api/v1", headers=CALLER) as api:
            for _ in range(2):
                made = api.post("/items", json={"rawText": "The heron sleeps on one leg.", "enrich": True}).json()
                path = f"/items/{made['id']}"
                wait_until(partial(is_ready, api, path), "the item is enriched")
        seen = scraped(httpx.get(f"{url}/metrics", headers=CALLER).text)
    assert len(upstream.calls) == 1
    kind = {"openai", MODEL, "enrichment"}
    calls, spent = seen["litevault_llm_calls_total"], seen["litevault_llm_cost_usd_total"]
    assert (calls[frozenset({*kind, "OK", ""})], calls[frozenset({*kind, "CACHED", ""})]) == (1, 1)
    assert seen["litevault_llm_saved_usd_total"][frozenset(kind)] == spent[frozenset(kind)] > 0
    looks = seen["litevault_llm_cache_lookups_total"]
    assert looks == {frozenset({"hits"}): 1, frozenset({"misses"}): 1, frozenset({"shared"}): 0}
    assert seen["litevault_llm_cache_saved_tokens_total"][frozenset()] > 0


async def test_it_is_for_operators(app: FastAPI) -> None:
    app.state.dev_role = Role.USER
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://litevault.test") as anyone:
        assert code_of(await anyone.get("/metrics", headers=CALLER)) == "FORBIDDEN"
        assert (await anyone.get("/metrics")).status_code == 401
