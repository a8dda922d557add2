"""Roles: who is known but may not is told 403, and every route that asks for a role declares it."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from app.accounts.roles import Role, requires
from app.config import Settings
from app.main import create_app
from tests.conftest import API, code_of, make_settings

# Everybody may ask a model; only who names one needs a role.
NAMES_A_MODEL = {"messages": [{"role": "user", "content": "x"}], "model": "stub/stub"}
CALLER = {"X-Dev-User-Id": "a"}


async def ask(settings: Settings, least: Role, **headers: str) -> Any:
    """The answer of a route that needs this role."""
    app = create_app(settings)

    @app.get("/guarded", dependencies=[requires(least)])
    async def guarded() -> None:
        return

    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app=app), base_url="http://litevault.test") as anyone,
    ):
        return await anyone.get("/guarded", headers=headers)


@pytest.mark.parametrize("least", Role)
@pytest.mark.parametrize("own", Role)
async def test_a_route_takes_its_role_and_those_above(
    database_url: str, tmp_path: Path, own: Role, least: Role
) -> None:
    answer = await ask(make_settings(database_url, tmp_path, dev_role=own.word), least, **CALLER)
    assert answer.status_code == (200 if own >= least else 403)


async def test_a_role_that_is_too_low_is_told_which_is_needed(database_url: str, tmp_path: Path) -> None:
    answer = await ask(make_settings(database_url, tmp_path, dev_role="user"), Role.OPERATOR, **CALLER)
    assert code_of(answer) == "FORBIDDEN" and "operator" in answer.json()["error"]["message"]


async def test_who_is_not_known_is_401_whatever_the_role(settings: Settings) -> None:
    assert (await ask(settings, Role.ADMIN)).status_code == 401


async def test_in_production_the_role_of_the_settings_helps_nobody(settings: Settings) -> None:
    production = settings.model_copy(update={"environment": "production", "dev_auth": False})
    assert (await ask(production, Role.USER, **CALLER)).status_code == 401


async def test_a_route_declares_403_where_it_needs_a_role_and_nowhere_else(app: FastAPI, client: AsyncClient) -> None:
    app.state.dev_role = Role.USER
    declared, answered = set(), set()
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            if not path.startswith(API) or path.endswith("/events"):
                continue
            url = path.removeprefix(API).replace("{", "").replace("}", "")
            answer = await client.request(method, url, json=NAMES_A_MODEL if url.startswith("/llm/query") else {})
            declared |= {(method, path)} if "403" in operation["responses"] else set()
            answered |= {(method, path)} if answer.status_code == 403 else set()
    assert answered == declared and len(answered) >= 6
