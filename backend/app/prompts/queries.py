"""Reading prompts and their versions from the database, as the routes show them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from app.cursors import decode_cursor, encode_cursor
from app.errors import InvalidCursor
from app.prompts.comparison import changes, unified
from app.prompts.prompt_model import PromptRow, PromptVersionRow
from app.prompts.schemas import (
    DiffOut,
    FieldChange,
    Pagination,
    PromptOut,
    PromptsOut,
    PromptSummary,
    VersionOut,
    VersionsOut,
    VersionSummary,
)
from app.prompts.versions import find_version, live_prompt, newest_version


def prompts_page(session: Session, *, category: str | None, cursor: str | None, limit: int) -> PromptsOut:
    """Those that are not deleted, by id."""
    newest = (
        select(func.max(PromptVersionRow.version)).where(PromptVersionRow.prompt_id == PromptRow.id).scalar_subquery()
    )
    query: Select[Any] = select(PromptRow, newest.label("newest")).where(PromptRow.deleted_at.is_(None))
    if category is not None:
        query = query.where(PromptRow.category == category)
    if cursor is not None:
        query = query.where(PromptRow.id > decode_cursor(cursor, 1)[0])
    found: Sequence[Row[Any]] = session.execute(query.order_by(PromptRow.id).limit(limit + 1)).all()
    shown = [_summary(row.PromptRow, row.newest) for row in found[:limit]]
    more = len(found) > limit
    return PromptsOut(prompts=shown, pagination=_pagination(encode_cursor(shown[-1].id) if more else None))


def prompt_out(session: Session, row: PromptRow) -> PromptOut:
    """The prompt with its version in use."""
    version = find_version(session, row.id, row.current_version)
    return PromptOut.model_validate(
        {
            **_summary(row, newest_version(session, row.id)).model_dump(),
            "template": version.content["body"],
            "system_messages": version.content["messages"],
            "cases": row.cases,
        }
    )


def versions_page(session: Session, row: PromptRow, *, cursor: str | None, limit: int) -> VersionsOut:
    """The newest first."""
    query = select(PromptVersionRow).where(PromptVersionRow.prompt_id == row.id)
    if cursor is not None:
        query = query.where(PromptVersionRow.version < _version_in(cursor))
    found = session.scalars(query.order_by(PromptVersionRow.version.desc()).limit(limit + 1)).all()
    shown = [_version_summary(row, version) for version in found[:limit]]
    more = len(found) > limit
    return VersionsOut(versions=shown, pagination=_pagination(encode_cursor(str(shown[-1].version)) if more else None))


def version_out(session: Session, row: PromptRow, version: int) -> VersionOut:
    """Raises NotFound."""
    found = find_version(session, row.id, version)
    summary = _version_summary(row, found).model_dump()
    return VersionOut.model_validate(
        {**summary, "template": found.content["body"], "system_messages": found.content["messages"]}
    )


def difference(session: Session, prompt_id: str, before: int, after: int) -> DiffOut:
    """Raises NotFound."""
    row = live_prompt(session, prompt_id)
    old, new = (find_version(session, row.id, version).content for version in (before, after))
    return DiffOut(
        prompt_id=row.id,
        from_version=before,
        to_version=after,
        changes=[FieldChange(path=path, kind=kind) for path, kind in changes(old, new)],
        unified=unified(old, new, (f"{row.id}/{before}", f"{row.id}/{after}")),
    )


def _version_in(cursor: str) -> int:
    place = decode_cursor(cursor, 1)[0]
    if not place.isdecimal() or len(place) > 9:
        raise InvalidCursor
    return int(place)


def _summary(row: PromptRow, newest: int) -> PromptSummary:
    return PromptSummary(
        id=row.id,
        category=row.category,
        description=row.description,
        current_version=row.current_version,
        latest_version=newest,
        shipped_version=row.shipped_version,
        is_pinned=row.is_pinned,
        is_overridden=row.is_overridden,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _version_summary(row: PromptRow, version: PromptVersionRow) -> VersionSummary:
    return VersionSummary(
        version=version.version,
        label=f"{row.id}/{version.version}",
        digest=version.digest,
        is_current=version.version == row.current_version,
        is_shipped=version.version == row.shipped_version,
        author_id=version.author_id,
        created_at=version.created_at,
    )


def _pagination(cursor: str | None) -> Pagination:
    return Pagination(cursor=cursor, has_more=cursor is not None)
