"""The routes of the providers: who may, what is refused and why, and that no key comes back."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.accounts.roles import Role
from app.cursors import encode_cursor
from app.providers.credentials.secret_keys import FileKeys
from app.providers.credentials.vault import Vault
from app.providers.registry import ProviderRegistry
from tests.conftest import Json, code_of
from tests.providers.conftest import KEY, NameService, form

Register = Callable[..., Awaitable[Json]]
PRICES = {"inputPriceUsd": "0.00000015", "outputPriceUsd": "0.000000600001"}


def body_of(provider: Json, **changes: Any) -> Json:
    """What a client sends back that read the provider."""
    unsent = {"id", "hasKey", "keyChangedAt", "createdAt", "updatedAt"}
    return {**{name: value for name, value in provider.items() if name not in unsent}, **changes}


async def replace(client: AsyncClient, provider: Json, **changes: Any) -> Any:
    return await client.put(f"/llm/providers/{provider['id']}", json=body_of(provider, **changes))


@pytest.mark.parametrize(
    ("misspelt", "field"),
    [({"apikey": KEY}, "apikey"), ({"models": [{"name": "small", "contextwindow": 1}]}, "models.0.contextwindow")],
)
async def test_a_field_that_there_is_not_is_refused_by_name(
    client: AsyncClient, register: Register, misspelt: Json, field: str
) -> None:
    made = await register()
    posted = await client.post("/llm/providers", json={**form(), "name": "other", **misspelt})
    for answer in (posted, await replace(client, made, **misspelt)):
        assert (answer.status_code, code_of(answer)) == (422, "VALIDATION_ERROR")
        [error] = answer.json()["error"]["details"]["errors"]
        assert error["field"] == field and KEY not in answer.text


async def test_a_provider_is_shown_as_it_was_registered(client: AsyncClient, register: Register) -> None:
    models = [{"name": "small", "contextWindow": 8192, "maxOutputTokens": 512, **PRICES}]
    made = await register(requestsPerMinute=60, tokensPerMinute=90_000, maxConcurrency=4, models=models)
    assert made["models"] == models and (made["requestsPerMinute"], made["maxConcurrency"]) == (60, 4)
    assert (made["hasKey"], made["version"], made["isEnabled"], made["isLocal"]) == (True, 1, True, False)
    assert (await client.get(f"/llm/providers/{made['id']}")).json() == made
    assert (await client.get("/llm/providers")).json()["providers"] == [made]


async def test_no_answer_holds_a_key(client: AsyncClient, register: Register) -> None:
    made = await register()
    answers = [
        await client.get("/llm/providers"),
        await client.get(f"/llm/providers/{made['id']}"),
        await client.get(f"/llm/providers/{made['id']}/status"),
        await replace(client, made, apiKey=f"{KEY} with a space"),
        await replace(client, made, apiKey=KEY, version=99),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 422, 409]
    assert not [answer.text for answer in answers if "canary" in answer.text]


async def test_pages_go_through_all_by_name(client: AsyncClient, register: Register) -> None:
    for name in ("c", "a", "b"):
        await register(name=name)
    first = (await client.get("/llm/providers?limit=2")).json()
    rest = (await client.get("/llm/providers", params={"cursor": first["pagination"]["cursor"]})).json()
    assert [[p["name"] for p in page["providers"]] for page in (first, rest)] == [["a", "b"], ["c"]]
    assert first["pagination"]["hasMore"] and rest["pagination"] == {"cursor": None, "hasMore": False}


async def test_a_damaged_cursor_is_refused(client: AsyncClient) -> None:
    assert code_of(await client.get("/llm/providers?cursor=damaged")) == "INVALID_CURSOR"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "Upper"}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "x" * 51}, "name"),
        ({"kind": "stub"}, "kind"),
        ({"requestsPerMinute": 0}, "requestsPerMinute"),
        ({"tokensPerMinute": -1}, "tokensPerMinute"),
        ({"maxConcurrency": "5"}, "maxConcurrency"),
        ({"maxConcurrency": True}, "maxConcurrency"),
        ({"models": [{"name": "m", "inputPriceUsd": 0.1}]}, "models.0.inputPriceUsd"),
        ({"models": [{"name": "m", "inputPriceUsd": "-1"}]}, "models.0.inputPriceUsd"),
        ({"models": [{"name": "m", "inputPriceUsd": "1e-7"}]}, "models.0.inputPriceUsd"),
        ({"models": [{"name": ""}]}, "models.0.name"),
        ({"apiKey": ""}, "apiKey"),
        ({"apiKey": "ключ"}, "apiKey"),
        ({"isLocal": 1}, "isLocal"),
        ({"healthCheck": "ping"}, "healthCheck"),
    ],
)
async def test_a_wrong_form_is_told_by_field(
    client: AsyncClient, known_names: NameService, changes: Json, field: str
) -> None:
    answer = await client.post("/llm/providers", json=form(**changes))
    errors = answer.json()["error"]["details"]["errors"]
    assert (answer.status_code, {error["field"] for error in errors}) == (422, {field})


@pytest.mark.parametrize(
    ("changes", "field", "rule"),
    [
        ({"name": "stub"}, "name", "reserved"),
        ({"baseUrl": None}, "baseUrl", "missing"),
        ({"baseUrl": "models.example"}, "baseUrl", "url_form"),
        ({"baseUrl": "https://u:p@models.example"}, "baseUrl", "url_form"),
        ({"baseUrl": "http://models.example"}, "baseUrl", "https_required"),
        ({"baseUrl": "https://inside.example"}, "baseUrl", "private_address"),
        ({"baseUrl": "https://127.0.0.1:8080"}, "baseUrl", "private_address"),
        ({"baseUrl": "https://nowhere.example"}, "baseUrl", "unresolvable"),
        ({"isLocal": True}, "isLocal", "not_local"),
        ({"models": [{"name": "m"}, {"name": "m"}]}, "models", "duplicate"),
    ],
)
async def test_a_value_that_cannot_be_used_is_told_by_field_and_rule(
    client: AsyncClient, known_names: NameService, changes: Json, field: str, rule: str
) -> None:
    known_names.known = {"inside.example": ["93.184.216.34", "10.0.0.7"], "nowhere.example": []}
    answer = await client.post("/llm/providers", json=form(**changes))
    assert (answer.status_code, answer.json()["error"]["details"]) == (400, {"field": field, "rule": rule})


async def test_a_vendor_needs_no_address(register: Register) -> None:
    assert (await register(name="openai", kind="openai", baseUrl=None))["baseUrl"] is None


async def test_a_name_is_taken_once(client: AsyncClient, register: Register) -> None:
    await register()
    other = await register(name="other")
    answers = [await client.post("/llm/providers", json=form()), await replace(client, other, name="mine")]
    assert [(answer.status_code, code_of(answer)) for answer in answers] == [(409, "NAME_TAKEN")] * 2


async def test_of_the_same_name_at_once_one_is_made(client: AsyncClient, known_names: NameService) -> None:
    answers = await asyncio.gather(*(client.post("/llm/providers", json=form()) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]


async def test_a_change_of_what_was_changed_meanwhile_is_refused(client: AsyncClient, register: Register) -> None:
    read = await register()
    assert (await replace(client, read, maxConcurrency=2)).json()["version"] == 2
    late = await replace(client, read, maxConcurrency=3)
    assert (late.status_code, code_of(late)) == (409, "VERSION_CONFLICT")
    assert late.json()["error"]["details"] == {"version": 2}


async def test_a_key_stays_where_a_change_does_not_name_it(
    client: AsyncClient, register: Register, app: FastAPI
) -> None:
    changed = (await replace(client, await register(), name="renamed")).json()
    assert changed["hasKey"] and changed["keyChangedAt"] is not None
    assert app.state.providers.registry.snapshot()["renamed"].api_key.get_secret_value() == KEY


async def test_null_takes_the_key_away(client: AsyncClient, register: Register) -> None:
    changed = (await replace(client, await register(), apiKey=None)).json()
    assert (changed["hasKey"], changed["keyChangedAt"]) == (False, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"baseUrl": "https://elsewhere.example/v1"},
        {"baseUrl": "https://models.example:444/v1"},
        {"kind": "openai", "baseUrl": None},
    ],
)
async def test_a_key_does_not_follow_to_another_address(client: AsyncClient, register: Register, changes: Json) -> None:
    made = await register()
    answer = await replace(client, made, **changes)
    assert answer.json()["error"]["details"] == {"field": "apiKey", "rule": "needed_again"}
    assert (await replace(client, made, apiKey="sk-another", **changes)).status_code == 200


async def test_a_key_stays_for_another_path_of_the_same_host(client: AsyncClient, register: Register) -> None:
    answer = await replace(client, await register(), baseUrl="https://models.example/v2")
    assert answer.status_code == 200 and answer.json()["hasKey"]


async def test_a_deleted_provider_is_gone_and_its_name_free(
    client: AsyncClient, register: Register, app: FastAPI
) -> None:
    made = await register()
    in_use = app.state.providers.registry.snapshot()["mine"]
    assert (await client.delete(f"/llm/providers/{made['id']}")).status_code == 204
    assert "mine" not in app.state.providers.registry.snapshot()
    assert in_use.api_key.get_secret_value() == KEY, "a call under way goes on with what it holds"
    gone = await client.delete(f"/llm/providers/{made['id']}")
    assert (gone.status_code, code_of(gone)) == (404, "NOT_FOUND")
    await register()


async def test_what_is_not_there_is_404(client: AsyncClient, register: Register) -> None:
    made = {**(await register()), "id": "unknown"}
    answers = [
        await client.get("/llm/providers/unknown"),
        await client.get("/llm/providers/unknown/status"),
        await replace(client, made),
    ]
    assert [(answer.status_code, code_of(answer)) for answer in answers] == [(404, "NOT_FOUND")] * 3


ROUTES = [
    ("GET", "/llm/providers", Role.OPERATOR),
    ("POST", "/llm/providers", Role.ADMIN),
    ("GET", "/llm/providers/x", Role.OPERATOR),
    ("GET", "/llm/providers/x/status", Role.OPERATOR),
    ("PUT", "/llm/providers/x", Role.ADMIN),
    ("DELETE", "/llm/providers/x", Role.ADMIN),
]


@pytest.mark.parametrize("own", Role)
@pytest.mark.parametrize(("method", "path", "least"), ROUTES)
async def test_each_route_has_its_role(
    app: FastAPI, client: AsyncClient, known_names: NameService, method: str, path: str, least: Role, own: Role
) -> None:
    app.state.dev_role = own
    answer = await client.request(method, path, json=form(version=1) if method in ("POST", "PUT") else None)
    assert (answer.status_code == 403) == (own < least)
    assert own >= least or code_of(answer) == "FORBIDDEN"


async def test_the_status_shows_limits_gate_health_and_key(client: AsyncClient, register: Register) -> None:
    made = await register(requestsPerMinute=60, healthCheck="none")
    status = (await client.get(f"/llm/providers/{made['id']}/status")).json()
    assert (status["name"], status["source"], status["key"]) == ("mine", "database", "set")
    assert status["limits"] == {"requestsPerMinute": 60, "tokensPerMinute": None, "maxConcurrency": None}
    assert status["traffic"]["gate"] == {"isOpen": True, "code": None, "secondsUntilOpen": 0.0, "isShared": True}
    assert status["traffic"]["shares"] is None
    assert status["health"]["state"] == "unknown"


async def test_a_provider_of_the_settings_has_a_status_by_its_name(client: AsyncClient) -> None:
    status = (await client.get("/llm/providers/stub/status")).json()
    assert (status["kind"], status["source"], status["key"]) == ("stub", "settings", "none")
    assert [found["name"] for found in (await client.get("/llm/providers")).json()["fromSettings"]] == ["stub"]


async def test_what_another_process_made_has_a_status_at_once(
    app: FastAPI, client: AsyncClient, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf() -> None:
        return

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(ProviderRegistry, "refresh", lambda _: deaf())
        made = await register()
        assert "mine" not in app.state.providers.registry.snapshot()
    assert (await client.get(f"/llm/providers/{made['id']}/status")).json()["name"] == "mine"


async def test_where_no_encryption_key_can_be_had_no_key_is_taken(
    app: FastAPI, client: AsyncClient, known_names: NameService, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    locked = Vault(FileKeys(tmp_path / "file/within"))
    app.state.providers = dataclasses.replace(app.state.providers, vault=locked)
    answer = await client.post("/llm/providers", json=form(apiKey=KEY))
    assert (answer.status_code, code_of(answer)) == (503, "SERVICE_UNAVAILABLE")
    assert str(tmp_path) not in answer.text and (await client.get("/llm/providers")).json()["providers"] == []


@pytest.mark.parametrize("place", [("a", "b"), ()])
async def test_a_cursor_of_another_list_is_refused(client: AsyncClient, place: tuple[str, ...]) -> None:
    answer = await client.get("/llm/providers", params={"cursor": encode_cursor(*place)})
    assert (answer.status_code, code_of(answer)) == (400, "INVALID_CURSOR")


async def kept_by_a_newer_release(app: FastAPI, provider: Json, **columns: str) -> None:
    """The row as a release wrote it that knows more than this one."""

    def write(session: Session) -> None:
        connection = session.connection()
        if "kind" in columns and connection.dialect.name == "postgresql":
            session.execute(text("ALTER TABLE llm_providers DROP CONSTRAINT ck_llm_providers_kind"))
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
        for column, value in columns.items():
            statement = text(f"UPDATE llm_providers SET {column} = :value WHERE id = :id")  # noqa: S608 - of the tests
            session.execute(statement, {"value": value, "id": provider["id"]})

    await app.state.database.write(write)
    await app.state.providers.registry.refresh()


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"kind": "telepathy"}, "kind: telepathy is not known here"),
        ({"health_check": "pulse"}, "healthCheck: pulse is not known here"),
        ({"models": '[{"name": ""}]'}, "its form is not known here"),
    ],
)
async def test_what_a_newer_release_wrote_is_listed_as_unreadable_and_can_be_replaced_or_deleted(
    app: FastAPI, client: AsyncClient, register: Register, columns: dict[str, str], reason: str
) -> None:
    well, odd = await register(name="well"), await register(name="odd")
    await kept_by_a_newer_release(app, odd, **columns)
    listed = (await client.get("/llm/providers")).json()
    assert [found["name"] for found in listed["providers"]] == ["well"]
    assert listed["unreadable"] == [{"id": odd["id"], "name": "odd", "version": 1, "reason": reason}]
    shown = await client.get(f"/llm/providers/{odd['id']}")
    assert (shown.status_code, reason in shown.json()["error"]["message"]) == (404, True)
    assert (await client.get(f"/llm/providers/{odd['id']}/status")).status_code in {200, 404}
    mended = await replace(client, odd, apiKey=KEY)
    assert (mended.status_code, mended.json()["kind"]) == (200, "openai_compatible")
    assert (await client.delete(f"/llm/providers/{well['id']}")).status_code == 204


async def test_a_key_is_not_taken_along_from_a_kind_that_is_not_known(
    app: FastAPI, client: AsyncClient, register: Register
) -> None:
    made = await register(kind="openai", baseUrl=None)
    await kept_by_a_newer_release(app, made, kind="telepathy")
    answer = await replace(client, made)
    assert (answer.status_code, answer.json()["error"]["details"]["rule"]) == (400, "needed_again")
    assert (await client.delete(f"/llm/providers/{made['id']}")).status_code == 204
