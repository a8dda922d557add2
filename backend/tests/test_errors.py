"""Every answer that is not a success has one form, whoever gives it: a route, the router, a middleware or a crash."""

import logging
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from app.config import Settings
from app.database import Database
from app.errors import ServiceUnavailable
from app.main import create_app
from tests.conftest import API, AsUser, code_of

MEBIBYTE = 1_048_576


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("GET", "/items/unknown", 404, "NOT_FOUND"),
        ("PUT", "/items/unknown", 405, "METHOD_NOT_ALLOWED"),
        ("PATCH", "/items/pending/x", 404, "NOT_FOUND"),
        ("POST", "/items", 422, "VALIDATION_ERROR"),
        ("GET", "/library?limit=0", 422, "VALIDATION_ERROR"),
        ("GET", "/library?cursor=damaged", 400, "INVALID_CURSOR"),
        ("GET", "/search", 422, "VALIDATION_ERROR"),
    ],
)
async def test_an_error_is_an_envelope(client: AsyncClient, method: str, path: str, status: int, code: str) -> None:
    answer = await client.request(method, path)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert set(error) == {"code", "message", "requestId", "details"} and set(answer.json()) == {"error"}
    assert error["message"].endswith(".") or status == 422
    assert error["requestId"] == answer.headers["X-Request-Id"]


async def test_the_allow_header_names_every_method_of_the_path(client: AsyncClient) -> None:
    answer = await client.put("/items/unknown")
    assert {method.strip() for method in answer.headers["Allow"].split(",")} == {"GET", "PATCH"}


async def test_outside_the_base_path_the_form_is_the_same(app: FastAPI) -> None:
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://litevault.test") as anyone:
        assert code_of(await anyone.get("/nothing/here")) == "NOT_FOUND"


async def test_who_does_not_say_who_they_are_is_401(as_user: AsUser) -> None:
    answer = await as_user().get("/items/pending")
    assert (answer.status_code, code_of(answer)) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("offered", ["abc-1.2_X", "x" * 64])
async def test_a_request_id_that_can_be_used_is_kept(client: AsyncClient, offered: str) -> None:
    answer = await client.get("/items/unknown", headers={"X-Request-Id": offered})
    assert answer.headers.get_list("X-Request-Id") == [offered]
    assert answer.json()["error"]["requestId"] == offered


@pytest.mark.parametrize("offered", ["", "x" * 65, "a b", "a/b", "<script>"])
async def test_any_other_request_id_is_replaced(client: AsyncClient, offered: str) -> None:
    answer = await client.get("/items/pending", headers={"X-Request-Id": offered})
    assert answer.headers["X-Request-Id"] not in {"", offered}


async def test_a_validation_error_names_field_and_rule_and_never_the_value(client: AsyncClient) -> None:
    answer = await client.post("/items", json={"rawText": ["canary"], "enrich": "canary", "tagIds": [7]})
    found = answer.json()["error"]["details"]["errors"]
    assert {entry["field"]: entry["rule"] for entry in found} == {
        "rawText": "string_type",
        "enrich": "bool_type",
        "tagIds.0": "string_type",
    }
    assert all(entry["message"] for entry in found) and "canary" not in answer.text


async def test_a_texts_length_is_told_in_characters(client: AsyncClient) -> None:
    empty = (await client.post("/items", json={"rawText": ""})).json()["error"]["details"]["errors"]
    long = (await client.post("/tags", json={"name": "x" * 51})).json()["error"]["details"]["errors"]
    least = {"field": "rawText", "rule": "string_too_short", "message": "must have at least 1 character"}
    assert empty == [least]
    assert long == [{"field": "name", "rule": "string_too_long", "message": "must have at most 50 characters"}]


async def test_a_bad_id_in_the_path_is_named_in_the_spelling_of_the_wire(client: AsyncClient) -> None:
    answer = await client.get(f"/items/{'x' * 65}")
    assert answer.json()["error"]["details"]["errors"][0]["field"] == "itemId"


@pytest.mark.parametrize("path", ["/items/pending/", "/tags/"])
async def test_a_path_with_a_slash_at_its_end_is_404(client: AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, code_of(answer)) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"tags": [" "]}, {"field": "tags", "rule": "blank"}),
        ({"title": " "}, {"field": "title", "rule": "blank"}),
        ({"addedTagIds": ["unknown"]}, {"field": "addedTagIds", "rule": "unknown"}),
        ({"acceptedSuggestionIds": ["unknown"]}, {"field": "acceptedSuggestionIds", "rule": "unknown"}),
        ({"rejectedSuggestionIds": ["unknown"]}, {"field": "rejectedSuggestionIds", "rule": "unknown"}),
    ],
)
async def test_a_value_that_cannot_be_used_is_told_by_field_and_rule(
    client: AsyncClient, body: dict[str, object], details: dict[str, str]
) -> None:
    item = (await client.post("/items", json={"rawText": "x", "enrich": False})).json()
    answer = await client.patch(f"/items/{item['id']}", json=body)
    assert (answer.status_code, answer.json()["error"]["details"]) == (400, details)


async def test_a_body_over_the_bound_is_413(client: AsyncClient) -> None:
    answer = await client.post("/items", json={"rawText": "x" * 2 * MEBIBYTE})
    assert (answer.status_code, code_of(answer)) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_streamed_body_over_the_bound_is_413(client: AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * (MEBIBYTE // 16)

    answer = await client.post("/items", content=chunks(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, code_of(answer)) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "json"])
async def test_a_body_that_is_not_json_is_415(client: AsyncClient, content_type: str) -> None:
    answer = await client.post("/items", content=b'{"rawText": "x"}', headers={"Content-Type": content_type})
    assert (answer.status_code, code_of(answer)) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("content_type", ["application/json", "APPLICATION/JSON; charset=utf-8"])
async def test_json_is_known_by_its_media_type(client: AsyncClient, content_type: str) -> None:
    answer = await client.post("/items", content=b'{"rawText": "x"}', headers={"Content-Type": content_type})
    assert answer.status_code == 201


async def test_a_crash_is_500_with_its_request_id_and_nothing_else(app: FastAPI, client: AsyncClient) -> None:
    @app.get(f"{API}/crash")
    async def crash() -> None:
        raise RuntimeError("canary")

    answer = await client.get("/crash", headers={"X-Request-Id": "mine", "Origin": "http://localhost:3000"})
    assert (answer.status_code, code_of(answer)) == (500, "INTERNAL_ERROR")
    assert answer.headers["X-Request-Id"] == "mine" and "canary" not in answer.text
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"


async def test_a_database_that_is_away_is_503_to_be_tried_again(app: FastAPI, client: AsyncClient) -> None:
    class Away(Database):
        async def read(self, work: object) -> None:  # type: ignore[override]
            raise ServiceUnavailable

    await client.get("/items/pending")
    real, app.state.database = app.state.database, Away("sqlite+aiosqlite:///nothing.db")
    answer = await client.get("/items/pending")
    app.state.database = real
    assert (answer.status_code, code_of(answer)) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "1"


async def test_a_browser_may_read_the_headers_that_we_add(client: AsyncClient) -> None:
    answer = await client.get("/items/pending", headers={"Origin": "http://localhost:3000"})
    exposed = {name.strip() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
    assert {"X-Request-Id", "ETag", "Idempotency-Replayed", "Retry-After"} <= exposed


async def test_a_preflight_is_answered(client: AsyncClient) -> None:
    asked = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "x-dev-user-id,idempotency-key,content-type",
    }
    answer = await client.options("/items/some-id", headers=asked)
    assert answer.status_code == 200 and "X-Request-Id" in answer.headers


async def test_production_refuses_the_development_header(settings: Settings) -> None:
    settings = settings.model_copy(update={"environment": "production", "dev_auth": False})
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app=app), base_url=f"http://litevault.test{API}") as anyone,
    ):
        answer = await anyone.get("/auth/me", headers={"X-Dev-User-Id": "a"})
    assert (answer.status_code, code_of(answer)) == (401, "UNAUTHORIZED")


async def test_a_crash_leaves_no_message_in_the_log(
    app: FastAPI, client: AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    @app.get(f"{API}/crash")
    async def crash() -> None:
        raise RuntimeError("canary")

    logging.getLogger().handlers[0].setStream(__import__("sys").stderr)  # type: ignore[attr-defined]
    await client.get("/crash")
    logged = capsys.readouterr().err
    assert "RuntimeError" in logged and "canary" not in logged
