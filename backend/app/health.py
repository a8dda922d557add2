"""Whether the process lives, and whether it can do its work."""

import asyncio
from collections.abc import Sequence
from typing import Literal

from fastapi import APIRouter, Request, Response

from app.database import Database
from app.errors import ServiceUnavailable
from app.migrations import current_revision, known_revisions
from app.web import WireModel
from app.worker.crew import Crew, CrewState

_DATABASE_SECONDS = 3.0
_NEWER = "newer than this release"
_WELL = frozenset({"ok", "disabled", "standby", _NEWER})

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
    checks = {**await _check_database(database), "worker": _check_worker(crew)}
    is_ready = all(outcome in _WELL for outcome in checks.values())
    response.status_code = 200 if is_ready else 503
    return Readiness(status="ready" if is_ready else "unavailable", checks=checks)


async def _check_database(database: Database) -> dict[str, str]:
    """One read tells both: whether the database answers, and which migrations it has."""
    try:
        async with asyncio.timeout(_DATABASE_SECONDS):
            revision = await current_revision(database)
    except (ServiceUnavailable, TimeoutError):
        return {"database": "unreachable", "migrations": "unknown"}
    # In a thread: the first call reads files.
    return {"database": "ok", "migrations": _judge(revision, await asyncio.to_thread(known_revisions))}


def _judge(revision: str | None, known: Sequence[str]) -> str:
    """A revision that we do not know was made by a newer release beside us: while it replaces us, we go on."""
    if revision == known[0]:
        return "ok"
    if revision is None or revision in known:
        return f"at {revision}, needs {known[0]}: run litevault migrate"
    return _NEWER


def _check_worker(crew: Crew | None) -> str:
    if crew is None:
        return "disabled"
    return "ok" if crew.state is CrewState.WORKING else str(crew.state)
