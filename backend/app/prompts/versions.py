"""What changes prompts, each inside the caller's writing transaction.

A version is known by its content: what is made again is the old version, in use again. Whoever changes a prompt holds
its row, so numbers have no gaps and two processes that start at once make one version.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.announcements import news_of
from app.clock import utc_now
from app.errors import InvalidInput, NameTaken, NotFound
from app.prompts.files import TemplateSet
from app.prompts.prompt_model import PromptRow, PromptVersionRow
from app.prompts.prompt_version import content_of, digest_of
from app.prompts.template import Template

PROMPTS = "prompts"  # the part of the configuration that the news names


def files_are_taken_in(session: Session, loaded: TemplateSet) -> bool:
    """Whether the database holds every template as the files have it, so that nothing is to be written."""
    found = select(PromptRow, PromptVersionRow.digest).join(
        PromptVersionRow,
        (PromptVersionRow.prompt_id == PromptRow.id) & (PromptVersionRow.version == PromptRow.shipped_version),
    )
    known = {row.PromptRow.id: (row.digest, row.PromptRow) for row in session.execute(found)}
    for id_, template in loaded.templates.items():
        if id_ not in known:
            return False
        digest, row = known[id_]
        is_described = row.is_overridden or _described(row) == _description_of(template)
        if digest != digest_of(content_of(template.body, loaded.messages)) or not is_described or row.deleted_at:
            return False
    return True


def take_in_files(session: Session, loaded: TemplateSet) -> None:
    """Each template whose content is new becomes the next version, in use unless an admin chose another one."""
    for id_ in sorted(loaded.templates):  # in one order, or two processes could wait for each other
        template = loaded.templates[id_]
        row = _ensure_row(session, template)
        number = _version_of(session, row, content_of(template.body, loaded.messages), author_id=None)
        follows = row.current_version in (0, row.shipped_version) and not row.is_pinned
        row.shipped_version = number
        if follows:
            row.current_version = number
        if not row.is_overridden:
            _describe(row, template)
        row.deleted_at = None
        _touch(session, row)


def create_prompt(session: Session, template: Template, messages: Mapping[str, str], author_id: str) -> PromptRow:
    """A prompt in its first version. Raises NameTaken, also for one that was deleted."""
    row = _ensure_row(session, template)
    if row.current_version:
        deleted = ", and was deleted: restore it" if row.deleted_at else ""
        raise NameTaken(f"There is a prompt with this id already{deleted}.")
    row.current_version = _version_of(session, row, content_of(template.body, messages), author_id)
    _touch(session, row)
    return row


def change_prompt(session: Session, template: Template, messages: Mapping[str, str], author_id: str) -> PromptRow:
    """The prompt in a version with this content, which is in use unless another one is pinned. Raises NotFound."""
    row = locked_prompt(session, template.id)
    number = _version_of(session, row, content_of(template.body, messages), author_id)
    if not row.is_pinned:
        row.current_version = number
    _describe(row, template)
    _touch(session, row)
    return row


def pin_version(session: Session, row: PromptRow, version: int | None) -> None:
    """Keep this version in use whatever comes; null lets the newest be in use again. Raises NotFound."""
    if version is not None:
        find_version(session, row.id, version)
    row.is_pinned = version is not None
    row.current_version = version or newest_version(session, row.id)
    _touch(session, row)


def restore_prompt(session: Session, row: PromptRow, version: int | None) -> None:
    """Put an old version in use, and bring a deleted prompt back; null: the version of the files, if there is one."""
    if version is not None:
        row.current_version = find_version(session, row.id, version).version
    elif row.shipped_version is not None:
        row.current_version = row.shipped_version
    elif row.deleted_at is None:
        raise InvalidInput("Nothing is to be restored; name a version.", {"field": "version", "rule": "missing"})
    row.deleted_at, row.is_pinned = None, False
    _touch(session, row)


def delete_prompt(session: Session, row: PromptRow) -> None:
    """Its versions stay, for what was made with them."""
    row.deleted_at = utc_now()
    _touch(session, row)


def locked_prompt(session: Session, prompt_id: str, *, also_deleted: bool = False) -> PromptRow:
    """The row, held until the end of the transaction. Raises NotFound."""
    row = session.get(PromptRow, prompt_id, with_for_update=True)
    if row is None or (row.deleted_at is not None and not also_deleted):
        raise NotFound("There is no prompt with this id.")
    return row


def live_prompt(session: Session, prompt_id: str) -> PromptRow:
    """The row of a prompt that is not deleted, for reading. Raises NotFound."""
    row = session.get(PromptRow, prompt_id)
    if row is None or row.deleted_at is not None:
        raise NotFound("There is no prompt with this id.")
    return row


def find_version(session: Session, prompt_id: str, version: int) -> PromptVersionRow:
    """Raises NotFound."""
    found = session.get(PromptVersionRow, (prompt_id, version))
    if found is None:
        raise NotFound("The prompt has no such version.")
    return found


def newest_version(session: Session, prompt_id: str) -> int:
    """Its number; 0 while there is none."""
    newest = select(func.max(PromptVersionRow.version)).where(PromptVersionRow.prompt_id == prompt_id)
    return session.scalar(newest) or 0


def _ensure_row(session: Session, template: Template) -> PromptRow:
    """The row, held; a new one has no version yet."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    now = utc_now()
    values = {"current_version": 0, "revision": 0, "created_at": now, "updated_at": now}
    row = {"id": template.id, **_description_of(template), **values}
    session.execute(insert(PromptRow).values(row).on_conflict_do_nothing())
    return locked_prompt(session, template.id, also_deleted=True)


def _version_of(session: Session, row: PromptRow, content: dict[str, Any], author_id: str | None) -> int:
    """The number of the version with this content, made now if there is none."""
    digest = digest_of(content)
    same = (PromptVersionRow.prompt_id == row.id, PromptVersionRow.digest == digest)
    known = session.scalar(select(PromptVersionRow.version).where(*same))
    if known is not None:
        return known
    number = newest_version(session, row.id) + 1
    session.add(PromptVersionRow(prompt_id=row.id, version=number, digest=digest, content=content, author_id=author_id))
    return number


def _touch(session: Session, row: PromptRow) -> None:
    row.revision += 1
    row.updated_at = utc_now()
    session.flush()
    news_of(session).configured.add(PROMPTS)


def _describe(row: PromptRow, template: Template) -> None:
    for name, value in _description_of(template).items():
        setattr(row, name, value)


def _described(row: PromptRow) -> dict[str, Any]:
    return {"category": row.category, "description": row.description, "cases": row.cases}


def _description_of(template: Template) -> dict[str, Any]:
    """What is said of a prompt, and shapes no call."""
    cases = [case.model_dump(mode="json", exclude_defaults=True) for case in template.cases]
    return {"category": template.category, "description": template.description, "cases": cases}
