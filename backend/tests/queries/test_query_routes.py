"""The routes of queries, with the stub: what is answered, when, to whom, and what is refused."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.accounts.roles import Role
from app.clock import utc_now
from app.database import new_id
from app.llm.ledger.attempt_model import LLMAttempt
from app.main import create_app
from app.queries.query_model import Query
from tests.conftest import AsUser, Json, code_of, make_settings
from tests.queries.conftest import ASKED, QUERY, ask, done, events_of

SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


async def test_an_answer_names_model_usage_cost_and_the_attempts(client: AsyncClient) -> None:
    answer = await done(client)
    assert answer["status"] == "DONE" and "ferry" in answer["content"]
    assert (answer["model"], answer["provider"], answer["prompt"]) == ("stub/stub", "stub", "query/1")
    assert answer["usage"]["inputTokens"] > 0 and answer["costUsd"] == 0
    assert (answer["cached"], answer["coverage"], answer["finishReason"]) == (False, 1.0, "stop")
    [attempt] = answer["attempts"]
    assert (attempt["outcome"], attempt["errorCode"]) == ("OK", None)


async def test_messages_may_be_asked_without_a_prompt(client: AsyncClient) -> None:
    body = {"messages": [{"role": "user", "content": "Where is the heron?"}]}
    answer = await client.post(QUERY, json=body)
    assert answer.status_code == 200 and "heron" in answer.json()["content"] and answer.json()["prompt"] is None


@pytest.mark.parametrize("changes", [{}, {"model": "stub/other"}, {"privacy": "local_only"}, ASKED])
async def test_each_query_is_on_the_books_once(app: FastAPI, client: AsyncClient, changes: Json) -> None:
    """Booked with its claim where the task alone chooses the model, and what was booked is what is asked."""
    body = changes if "promptId" in changes else {"messages": [{"role": "user", "content": "Where?"}], **changes}
    assert (await client.post(QUERY, json=body)).status_code == 200
    books = await app.state.database.read(lambda session: session.execute(select(LLMAttempt.outcome)).scalars().all())
    assert books == ["OK"]
    assert app.state.queries.lane.first_call() is not None


async def test_who_does_not_wait_is_told_where_to_look(app: FastAPI, client: AsyncClient) -> None:
    app.state.crew.stop()
    await app.state.crew.wait_stopped()
    answer = await ask(client, waitSeconds=0)
    accepted = answer.json()
    assert (answer.status_code, accepted["status"]) == (202, "RUNNING")
    path = f"{QUERY}/{accepted['queryId']}"
    assert accepted["statusUrl"].endswith(f"{path}/status") and accepted["resultUrl"].endswith(f"{path}/result")


async def test_result_is_409_until_there_is_one(app: FastAPI, client: AsyncClient) -> None:
    app.state.crew.stop()
    await app.state.crew.wait_stopped()
    query_id = (await ask(client, waitSeconds=0)).json()["queryId"]
    answer = await client.get(f"{QUERY}/{query_id}/result")
    assert (answer.status_code, code_of(answer)) == (409, "QUERY_UNFINISHED")
    assert answer.headers["Retry-After"] == "1"
    assert (await client.get(f"{QUERY}/{query_id}/status")).json()["status"] == "RUNNING"


async def test_a_result_stays(client: AsyncClient) -> None:
    answer = await done(client)
    assert (await client.get(f"{QUERY}/{answer['queryId']}/result")).json() == answer
    status = (await client.get(f"{QUERY}/{answer['queryId']}/status")).json()
    assert (status["status"], status["error"]) == ("DONE", None)


async def test_a_schema_makes_the_answer_structured(client: AsyncClient) -> None:
    answer = await done(client, jsonSchema=SCHEMA)
    assert answer["content"] is None and "ferry" in answer["data"]["answer"]


async def test_a_hundred_queries_are_answered_together(client: AsyncClient) -> None:
    answers = await asyncio.gather(*(ask(client, waitSeconds=30) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["queryId"] for answer in answers}) == 100


async def test_a_cancelled_query_has_no_result(app: FastAPI, client: AsyncClient) -> None:
    app.state.crew.stop()
    await app.state.crew.wait_stopped()
    path = f"{QUERY}/{(await ask(client, waitSeconds=0)).json()['queryId']}"
    assert [(await client.delete(path)).status_code for _ in range(2)] == [204, 204]
    answer = await client.get(f"{path}/result")
    assert (answer.status_code, code_of(answer)) == (409, "QUERY_CANCELLED")


async def test_what_is_done_is_not_undone_by_a_cancel(client: AsyncClient) -> None:
    answer = await done(client)
    assert (await client.delete(f"{QUERY}/{answer['queryId']}")).status_code == 204
    assert (await client.get(f"{QUERY}/{answer['queryId']}/result")).status_code == 200


async def test_the_same_key_and_body_are_one_query(client: AsyncClient) -> None:
    key = {"Idempotency-Key": "once"}
    first, second = await ask(client, headers=key), await ask(client, headers=key, waitSeconds=5)
    assert first.json() == second.json() and second.headers["Idempotency-Replayed"] == "true"
    other = await ask(client, headers=key, document="Another text.")
    assert (other.status_code, code_of(other)) == (409, "DUPLICATE_REQUEST")


async def test_a_stream_comes_in_pieces_and_says_at_its_end_who_answered(client: AsyncClient) -> None:
    answer = await client.post(f"{QUERY}/stream", json=ASKED)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    names = [name for name, _ in events]
    assert names[0] == "started" and names[-1] == "done" and set(names[1:-1]) == {"delta"}
    text = "".join(data["content"] for name, data in events if name == "delta")
    last = events[-1][1]
    assert (last["model"], last["costUsd"], last["finishReason"]) == ("stub/stub", 0, "stop")
    stored = (await client.get(f"{QUERY}/{last['queryId']}/result")).json()
    assert stored["content"] == text and stored["usage"] == last["usage"]
    assert "\nid: 1\n" in answer.text


@pytest.mark.parametrize("path", [QUERY, f"{QUERY}/stream"])
@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "body"),
        ({**ASKED, "messages": [{"role": "user", "content": "x"}]}, 422, "body"),
        ({"messages": []}, 422, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, 422, "messages.0.content"),
        ({"messages": [{"role": "judge", "content": "x"}]}, 422, "messages.0.role"),
        ({**ASKED, "promptId": "nowhere"}, 422, "promptId"),
        ({**ASKED, "promptVersion": 99}, 422, "promptVersion"),
        ({**ASKED, "variables": {}}, 422, "variables.question"),
        ({**ASKED, "variables": {"question": "x", "more": 1}}, 422, "variables.more"),
        ({**ASKED, "variables": {"question": 7}}, 422, "variables.question"),
        ({**ASKED, "model": "nobody/knows"}, 422, "model"),
        ({**ASKED, "model": "task:nothing"}, 422, "model"),
        ({**ASKED, "model": "bare"}, 422, "model"),
        ({**ASKED, "fallbackModels": ["stub/stub"]}, 422, "body"),
        ({**ASKED, "parameters": {"maxTokens": -1}}, 422, "parameters.maxTokens"),
        ({**ASKED, "parameters": {"temperature": 3}}, 422, "parameters.temperature"),
        ({**ASKED, "parameters": {"topP": -0.1}}, 422, "parameters.topP"),
        ({**ASKED, "parameters": {"warmth": 1}}, 422, "parameters.warmth"),
        ({**ASKED, "privacy": "secret"}, 422, "privacy"),
        ({**ASKED, "document": "a\x00b"}, 422, "document"),
        ({**ASKED, "variables": {"question": "a\x00b"}}, 422, "variables.question"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_field(
    client: AsyncClient, path: str, body: Json, status: int, field: str
) -> None:
    answer = await client.post(path, json=body)
    assert answer.status_code == status and code_of(answer) == "VALIDATION_ERROR", answer.text
    assert answer.json()["error"]["details"]["errors"][0]["field"] == field


@pytest.mark.parametrize("path", [QUERY, f"{QUERY}/stream"])
@pytest.mark.parametrize("variables", [b'{"question": "\\ud800"}', b'{"question": ["\\ud800"]}', b'{"\\ud800": 1}'])
async def test_half_a_character_is_no_value(client: AsyncClient, path: str, variables: bytes) -> None:
    body = b'{"promptId": "query", "variables": ' + variables + b"}"
    answer = await client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, code_of(answer)) == (422, "VALIDATION_ERROR")
    assert answer.json()["error"]["details"]["errors"][0]["field"].startswith("variables")


async def test_a_schema_with_a_character_that_cannot_be_stored_is_refused(client: AsyncClient) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": "a\x00b"}}}
    answer = await ask(client, jsonSchema=schema)
    assert answer.json()["error"]["details"]["errors"][0]["field"] == "jsonSchema.properties"


@pytest.mark.parametrize("seconds", [-1, 31, "10"])
async def test_a_wait_has_bounds(client: AsyncClient, seconds: Any) -> None:
    answer = await ask(client, waitSeconds=seconds)
    assert answer.json()["error"]["details"]["errors"][0]["field"] == "waitSeconds"


async def test_a_text_that_nobody_may_see_is_not_asked(client: AsyncClient) -> None:
    answer = await ask(client, privacy="none")
    assert (answer.status_code, code_of(answer)) == (422, "LLM_PRIVATE_TEXT")


@pytest.mark.parametrize("changes", [{"model": "stub/stub"}, {"model": "task:query", "fallbackModels": ["stub/stub"]}])
async def test_only_operators_name_models(app: FastAPI, client: AsyncClient, changes: Json) -> None:
    assert (await ask(client, **changes)).status_code == 200
    app.state.dev_role = Role.USER
    assert (await ask(client, **changes)).status_code == 403
    assert (await client.post(f"{QUERY}/stream", json={**ASKED, **changes})).status_code == 403
    assert (await ask(client, model="task:query")).status_code == 200


async def test_another_person_s_query_is_not_found(client: AsyncClient, as_user: AsUser) -> None:
    query_id = (await done(client))["queryId"]
    for method, path in (("GET", "/status"), ("GET", "/result"), ("DELETE", "")):
        answer = await as_user("b").request(method, f"{QUERY}/{query_id}{path}")
        assert (answer.status_code, code_of(answer)) == (404, "NOT_FOUND")


async def test_switched_off_a_query_is_refused_at_once(database_url: str, tmp_path: Path) -> None:
    settings = make_settings(database_url, tmp_path)
    settings.llm.enabled = False
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        from httpx import ASGITransport  # noqa: PLC0415

        transport = ASGITransport(app=app)
        async with AsyncClient(transport=transport, base_url="http://litevault.test/api/v1") as client:
            answer = await client.post(QUERY, json=ASKED, headers={"X-Dev-User-Id": "a"})
    assert (answer.status_code, code_of(answer)) == (503, "LLM_DISABLED")


@pytest.mark.parametrize("path", [QUERY, f"{QUERY}/stream", "http://litevault.test/v1/chat/completions"])
async def test_a_spent_budget_says_until_when_and_asks_for_no_repeat(client: AsyncClient, path: str) -> None:
    nothing = {"scope": "user", "subject": "*", "period": "day", "limitUsd": "0"}
    assert (await client.put("/admin/budgets", json={"budgets": [nothing]})).status_code == 200
    models = [{"name": "m", "contextWindow": 9000, "inputPriceUsd": "1", "outputPriceUsd": "1"}]
    made = {"name": "dear", "kind": "openai", "baseUrl": "https://1.1.1.1/v1", "models": models}
    assert (await client.post("/llm/providers", json=made)).status_code == 201
    body = {"model": "dear/m", "messages": [{"role": "user", "content": "Where is the heron?"}]}
    answer = await client.post(path, json=body)
    assert (answer.status_code, answer.headers.get("X-Should-Retry"), answer.headers.get("Retry-After")) == (
        429,
        "false",
        None,
    )
    error = answer.json()["error"]
    if path.endswith("completions"):
        assert error["code"] == "insufficient_quota"
        return
    details = error["details"]
    assert (error["code"], details["limit"], details["used"]) == ("BUDGET_EXCEEDED", 0, 0)
    assert details["resetAt"].endswith("Z")


async def test_what_a_run_that_died_has_asked_is_among_the_attempts(app: FastAPI, client: AsyncClient) -> None:
    query_id = (await done(client))["queryId"]
    common = {"lane": "query", "item_id": query_id, "user_id": "a", "claim_seq": 0, "started_at": utc_now()}
    lost = LLMAttempt(**common, id=new_id(), provider="openai", model="openai/m", outcome="IN_DOUBT", reason="first")
    unused = LLMAttempt(**common, id=new_id(), provider="openai", model="openai/m", outcome="UNUSED")

    def die_once(session: Session) -> None:
        session.add_all([lost, unused])
        session.execute(update(Query).where(Query.id == query_id).values(deaths=1))

    await app.state.database.write(die_once)
    answer = (await client.get(f"{QUERY}/{query_id}/result")).json()
    assert [(attempt["model"], attempt["outcome"]) for attempt in answer["attempts"]] == [
        ("openai/m", "IN_DOUBT"),
        ("stub/stub", "OK"),
    ]
    assert answer["costUsd"] is None  # nobody knows what the lost one cost
