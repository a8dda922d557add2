"""Roles: who is known but may not is told 403, and every route that asks for a role declares it."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from httpx import ASGITransport, AsyncClient

from app.accounts.roles import Role, RoleCheck, requires
from app.config import Settings
from app.main import create_app
from tests.conftest import code_of, make_settings

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


def least_role(route: APIRoute) -> Role:
    checks = [found.call for found in route.dependant.dependencies if isinstance(found.call, RoleCheck)]
    return max((check.least for check in checks), default=Role.USER)


def test_every_route_that_needs_a_role_declares_403(app: FastAPI) -> None:
    guarded = [route for route in app.routes if isinstance(route, APIRoute) and least_role(route) > Role.USER]
    assert not [route.path for route in guarded if 403 not in route.responses]
