"""The prompts of this process, in memory: which version of each is in use, and every older one by its number.

Whoever asks waits for nothing. The files are taken into the database at start; after that the database says what is in
use, and a change is followed (`following.py`). A version that its callers could not use, since they give other values
by now, is never in use.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import structlog
from pydantic import ValidationError
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.database import Database
from app.errors import NotFound, NotReady, ServiceUnavailable
from app.following import followed
from app.prompts.checking import problems_of_replacement
from app.prompts.files import TemplateSet, load_templates
from app.prompts.prompt_model import PromptRow, PromptVersionRow
from app.prompts.prompt_version import PromptVersion, messages_used
from app.prompts.template import Case, PromptBody
from app.prompts.versions import PROMPTS, files_are_taken_in, take_in_files

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, its cases and all its versions by number. `current`: the one in use."""

    id: str
    current: int
    versions: Mapping[int, PromptVersion] = field(repr=False)
    cases: tuple[Case, ...] = field(repr=False)


class PromptRegistry:
    """Finds a prompt by its id; asked before every call."""

    def __init__(self, loaded: TemplateSet, environment: str) -> None:
        self.loaded = loaded
        self.environment = environment
        self._prompts = _as_in_files(loaded, environment)
        self._revisions: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._prompts)

    def prompts(self) -> list[Prompt]:
        """All of them, by id."""
        return [self._prompts[id_] for id_ in sorted(self._prompts)]

    def get(self, prompt_id: str, version: int | None = None) -> PromptVersion:
        """The version in use, or this one. Raises NotFound."""
        prompt = self._prompts.get(prompt_id)
        found = None if prompt is None else prompt.versions.get(prompt.current if version is None else version)
        if found is None:
            raise NotFound("There is no prompt with this id." if prompt is None else "The prompt has no such version.")
        return found

    async def refresh(self, database: Database) -> None:
        """The prompts as the database has them now. Only what has changed is read; a version never does."""
        revisions = await database.read(_revisions)
        changed = [id_ for id_, revision in revisions.items() if revision > self._revisions.get(id_, -1)]
        if not changed:
            return
        before = {id_: self._read_before(id_) for id_ in changed}
        known = {id_: max(versions, default=0) for id_, versions in before.items()}
        for row, newer in await database.read(lambda session: _rows_of(session, known)):
            # An older reading that comes late must not take the place of a newer one.
            if row.revision > self._revisions.get(row.id, -1):
                self._revisions[row.id] = row.revision
                self._take(row, before[row.id], newer)

    def _take(self, row: PromptRow, before: Mapping[int, PromptVersion], newer: Sequence[PromptVersionRow]) -> None:
        versions = {number: replace(version, category=row.category) for number, version in before.items()}
        versions |= {found.version: found for stored in newer if (found := self._read(row, stored)) is not None}
        current = self._usable(row, versions)
        if row.deleted_at is not None:
            self._prompts.pop(row.id, None)
        elif current is not None:
            self._prompts[row.id] = Prompt(row.id, current, versions, self._cases(row))

    def _read_before(self, prompt_id: str) -> Mapping[int, PromptVersion]:
        """Its versions in memory, as far as they are the database's and not the files'."""
        is_of_database = prompt_id in self._revisions and prompt_id in self._prompts
        return self._prompts[prompt_id].versions if is_of_database else {}

    def _read(self, row: PromptRow, stored: PromptVersionRow) -> PromptVersion | None:
        """None for one that another release wrote in a form that this one does not know."""
        try:
            body = PromptBody.model_validate(stored.content["body"])
        except ValidationError:
            log.warning("prompt.unreadable", prompt=row.id, version=stored.version)
            return None
        messages = stored.content["messages"]
        return PromptVersion(row.id, stored.version, row.category, body, messages, self.environment)

    def _cases(self, row: PromptRow) -> tuple[Case, ...]:
        try:
            return tuple(Case.model_validate(case) for case in row.cases)
        except ValidationError:
            log.warning("prompt.cases_unreadable", prompt=row.id)
            return ()

    def _usable(self, row: PromptRow, versions: Mapping[int, PromptVersion]) -> int | None:
        """The number of the version in use; the files' where the chosen one cannot be."""
        chosen = versions.get(row.current_version)
        template = self.loaded.templates.get(row.id)
        if chosen is not None and (template is None or not problems_of_replacement(chosen.body, template)):
            return chosen.version
        log.warning("prompt.not_usable", prompt=row.id, version=row.current_version, instead=row.shipped_version)
        return row.shipped_version if row.shipped_version in versions else None


def _as_in_files(loaded: TemplateSet, environment: str) -> dict[str, Prompt]:
    """Each in its first version."""
    prompts = {}
    for id_, template in loaded.templates.items():
        body = template.body
        version = PromptVersion(id_, 1, template.category, body, messages_used(body, loaded.messages), environment)
        prompts[id_] = Prompt(id_, 1, {1: version}, template.cases)
    return prompts


def as_in_files(environment: str, extra: Path | None = None) -> PromptRegistry:
    """The prompts as the files have them, without a database. Raises StartRefused."""
    return PromptRegistry(load_templates(extra), environment)


@asynccontextmanager
async def following(database: Database, registry: PromptRegistry) -> AsyncIterator[None]:
    """Takes the files into the database, which is migrated, and keeps the registry as it is there.

    Raises NotReady while it is away: the versions would have no numbers.
    """
    try:
        if not await database.read(lambda session: files_are_taken_in(session, registry.loaded)):
            await database.write(lambda session: take_in_files(session, registry.loaded))
        await registry.refresh(database)
    except ServiceUnavailable as error:
        raise NotReady("the prompts cannot be written into the database: see whether it is well") from error
    async with followed(database, PROMPTS, partial(registry.refresh, database)):
        yield


def _revisions(session: Session) -> dict[str, int]:
    return {row.id: row.revision for row in session.execute(select(PromptRow.id, PromptRow.revision))}


def _rows_of(session: Session, known: Mapping[str, int]) -> list[tuple[PromptRow, list[PromptVersionRow]]]:
    """These prompts, each with the versions above the number that is known of it."""
    rows = session.scalars(select(PromptRow).where(PromptRow.id.in_(known))).all()
    versions: dict[str, list[PromptVersionRow]] = {row.id: [] for row in rows}
    newer = [(PromptVersionRow.prompt_id == id_) & (PromptVersionRow.version > number) for id_, number in known.items()]
    stored = select(PromptVersionRow).where(or_(*newer)).order_by(PromptVersionRow.version)
    for version in session.scalars(stored):
        versions[version.prompt_id].append(version)
    return [(row, versions[row.id]) for row in rows]
