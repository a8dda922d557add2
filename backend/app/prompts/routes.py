"""The routes of the prompts: operators see them, admins change them."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import StringConstraints
from pydantic.alias_generators import to_camel
from sqlalchemy.orm import Session

from app.accounts.identity import CurrentUserId
from app.accounts.roles import Role, requires
from app.errors import InvalidInput, PromptRefused
from app.prompts import queries, versions
from app.prompts.checking import Problem, problems_of, problems_of_replacement, problems_of_tasks
from app.prompts.prompt_model import PromptRow
from app.prompts.registry import PromptRegistry
from app.prompts.schemas import (
    DiffOut,
    PromptCreate,
    PromptOut,
    PromptReplace,
    PromptsOut,
    VersionChoice,
    VersionOut,
    VersionsOut,
)
from app.prompts.template import NAME, PromptBody, PromptId, Template
from app.web import DatabaseOf, Text, declared_errors

router = APIRouter(
    prefix="/llm/prompts",
    tags=["prompts"],
    dependencies=[requires(Role.OPERATOR)],
    responses=declared_errors(403),
)
_ADMIN = [requires(Role.ADMIN)]
Cursor = Annotated[Text | None, Query(max_length=1000)]
Limit = Annotated[int, Query(ge=1, le=100)]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
NumberAsked = Annotated[int, Query(ge=1, le=2**31 - 1)]


async def _registry_of(request: Request) -> PromptRegistry:
    registry: PromptRegistry = request.app.state.prompts
    return registry


async def _tasks_of(request: Request) -> Sequence[str]:
    tasks: Sequence[str] = request.app.state.gateway.tasks
    return tasks


TasksOf = Annotated[Sequence[str], Depends(_tasks_of)]
RegistryOf = Annotated[PromptRegistry, Depends(_registry_of)]


@router.get("", responses=declared_errors(400))
async def list_prompts(
    database: DatabaseOf,
    *,
    category: Annotated[str | None, StringConstraints(pattern=NAME), Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> PromptsOut:
    """By id, without their texts."""
    return await database.read(partial(queries.prompts_page, category=category, cursor=cursor, limit=limit))


@router.post("", status_code=201, dependencies=_ADMIN, responses=declared_errors(409))
async def create_prompt(
    body: PromptCreate, user_id: CurrentUserId, database: DatabaseOf, *, registry: RegistryOf, tasks: TasksOf
) -> PromptOut:
    """A prompt of one's own; calls may name it as soon as this is answered."""
    await _check(body, registry, tasks)

    def work(session: Session) -> PromptOut:
        row = versions.create_prompt(session, body, registry.loaded.messages, user_id)
        return queries.prompt_out(session, row)

    made = await database.write(work)
    await registry.refresh(database)
    return made


@router.get("/{prompt_id}", responses=declared_errors(404))
async def get_prompt(prompt_id: PromptId, database: DatabaseOf) -> PromptOut:
    """With the version in use."""
    return await database.read(lambda s: queries.prompt_out(s, versions.live_prompt(s, prompt_id)))


@router.put("/{prompt_id}", dependencies=_ADMIN, responses=declared_errors(404))
async def replace_prompt(
    prompt_id: PromptId,
    body: PromptReplace,
    user_id: CurrentUserId,
    database: DatabaseOf,
    *,
    registry: RegistryOf,
    tasks: TasksOf,
) -> PromptOut:
    """A new version, in use at once unless another one is pinned. Equal to an earlier version, it is that one again."""
    template = body.template(prompt_id)
    await _check(template, registry, tasks)
    _refuse(_problems_of_callers(registry, prompt_id, body))

    def work(session: Session) -> PromptOut:
        row = versions.change_prompt(session, template, registry.loaded.messages, user_id)
        return queries.prompt_out(session, row)

    changed = await database.write(work)
    await registry.refresh(database)
    return changed


@router.delete("/{prompt_id}", status_code=204, dependencies=_ADMIN, responses=declared_errors(400, 404))
async def delete_prompt(prompt_id: PromptId, database: DatabaseOf, registry: RegistryOf) -> None:
    """It is no longer found, and can be restored. One that ships stays: restore its own version instead."""
    if prompt_id in registry.loaded.templates:
        raise InvalidInput("A prompt that ships cannot be deleted.", {"field": "promptId", "rule": "shipped"})
    await database.write(lambda s: versions.delete_prompt(s, versions.locked_prompt(s, prompt_id)))
    await registry.refresh(database)


@router.get("/{prompt_id}/versions", responses=declared_errors(400, 404))
async def list_versions(
    prompt_id: PromptId, database: DatabaseOf, *, cursor: Cursor = None, limit: Limit = 20
) -> VersionsOut:
    """The newest first, without their texts."""

    def read(session: Session) -> VersionsOut:
        return queries.versions_page(session, versions.live_prompt(session, prompt_id), cursor=cursor, limit=limit)

    return await database.read(read)


@router.get("/{prompt_id}/versions/{version}", responses=declared_errors(404))
async def get_version(prompt_id: PromptId, version: Number, database: DatabaseOf) -> VersionOut:
    """With its template, and the system messages as they were."""
    return await database.read(lambda s: queries.version_out(s, versions.live_prompt(s, prompt_id), version))


@router.get("/{prompt_id}/diff", responses=declared_errors(404))
async def compare_versions(
    prompt_id: PromptId,
    before: Annotated[NumberAsked, Query(alias="from")],
    after: Annotated[NumberAsked, Query(alias="to")],
    database: DatabaseOf,
) -> DiffOut:
    """What the second version has otherwise than the first."""
    return await database.read(partial(queries.difference, prompt_id=prompt_id, before=before, after=after))


@router.post("/{prompt_id}/pin", dependencies=_ADMIN, responses=declared_errors(404))
async def pin_version(
    prompt_id: PromptId, body: VersionChoice, database: DatabaseOf, registry: RegistryOf
) -> PromptOut:
    """Keep this version in use, whatever comes after it; null lets the newest one be in use again."""

    def work(session: Session) -> PromptOut:
        row = versions.locked_prompt(session, prompt_id)
        versions.pin_version(session, row, body.version)
        return _served(session, row, registry)

    pinned = await database.write(work)
    await registry.refresh(database)
    return pinned


@router.post("/{prompt_id}/restore", dependencies=_ADMIN, responses=declared_errors(400, 404))
async def restore_prompt(
    prompt_id: PromptId, body: VersionChoice, database: DatabaseOf, registry: RegistryOf
) -> PromptOut:
    """Put an earlier version in use, unpinned; a deleted prompt is back. Null: the version that ships."""

    def work(session: Session) -> PromptOut:
        row = versions.locked_prompt(session, prompt_id, also_deleted=True)
        versions.restore_prompt(session, row, body.version)
        return _served(session, row, registry)

    restored = await database.write(work)
    await registry.refresh(database)
    return restored


def _served(session: Session, row: PromptRow, registry: PromptRegistry) -> PromptOut:
    """The prompt, when its callers can use the version that is in use now. Raises PromptRefused."""
    shown = queries.prompt_out(session, row)
    _refuse(_problems_of_callers(registry, row.id, shown.template))
    return shown


async def _check(template: Template, registry: PromptRegistry, tasks: Sequence[str]) -> None:
    """In a thread: the texts of a large template take seconds to compile. Raises PromptRefused."""
    found = await asyncio.to_thread(problems_of, template, registry.loaded.messages)
    _refuse([*found, *problems_of_tasks(template, tasks)])


def _problems_of_callers(registry: PromptRegistry, prompt_id: str, body: PromptBody) -> list[Problem]:
    template = registry.loaded.templates.get(prompt_id)
    return [] if template is None else problems_of_replacement(body, template)


def _refuse(problems: Sequence[Problem]) -> None:
    """Raises PromptRefused when there are any: by field, and by line within a text."""
    if not problems:
        return
    errors = [
        {"field": _field(problem), "rule": "template", "message": problem.message, "line": problem.line}
        for problem in problems
    ]
    sentence = "; ".join(_told(problem) for problem in problems[:3])
    raise PromptRefused(f"The template cannot be used: {sentence}.", {"errors": errors})


def _told(problem: Problem) -> str:
    line = "" if problem.line is None else f", line {problem.line}"
    return f"{_field(problem)}{line}: {problem.message}"


def _field(problem: Problem) -> str:
    """In the spelling of the wire; names of variables are the template's own."""
    return ".".join(to_camel(part) if isinstance(part, str) and part in _FIELDS else str(part) for part in problem.path)


_FIELDS = frozenset(Template.model_fields)
