"""Whether the process lives, and whether it can do its work."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request, Response
from sqlalchemy import text

from app.database import Database
from app.errors import ServiceUnavailable
from app.migrations import current_revision, newest_revision
from app.web import WireModel
from app.worker.crew import Crew, CrewState

_DATABASE_SECONDS = 3.0

router = APIRouter(tags=["health"])


class Health(WireModel):
    status: Literal["ok"] = "ok"


class Readiness(WireModel):
    """`ready`, or `unavailable` with the failing part among `checks`, each `ok` or what is wrong with it."""

    status: Literal["ready", "unavailable"]
    checks: dict[str, str]


@router.get("/healthz")
@router.get("/health")
async def health() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "A part is away; `checks` names it."}})
async def ready(request: Request, response: Response) -> Readiness:
    """The database, its migrations and the worker are all there."""
    database: Database = request.app.state.database
    crew: Crew | None = request.app.state.crew
    checks = {"database": await _check_database(database), "worker": _check_worker(crew)}
    checks["migrations"] = await _check_migrations(database) if checks["database"] == "ok" else "unknown"
    is_ready = all(outcome in ("ok", "disabled", "standby") for outcome in checks.values())
    response.status_code = 200 if is_ready else 503
    return Readiness(status="ready" if is_ready else "unavailable", checks=checks)


async def _check_database(database: Database) -> str:
    try:
        async with asyncio.timeout(_DATABASE_SECONDS):
            await database.read(lambda session: session.execute(text("SELECT 1")).scalar())
    except (ServiceUnavailable, TimeoutError):
        return "unreachable"
    return "ok"


async def _check_migrations(database: Database) -> str:
    revision = await current_revision(database)
    newest = newest_revision()
    return "ok" if revision == newest else f"at {revision}, needs {newest}: run litevault migrate"


def _check_worker(crew: Crew | None) -> str:
    if crew is None:
        return "disabled"
    return "ok" if crew.state is CrewState.WORKING else str(crew.state)
