"""Prompts on the wire: what is sent to change them, and what is shown of them and of their versions."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from app.prompts.template import CASES_MAX, Case, Name, PromptBody, PromptId, Template, WholeNumber
from app.web import Text, WireModel, WireTime

VersionNumber = Annotated[WholeNumber, Field(ge=1, le=2**31 - 1)]


class PromptCreate(Template):
    """A template with a new id."""


class PromptReplace(PromptBody):
    """A template for the id in the path."""

    category: Name
    description: Annotated[Text, StringConstraints(max_length=500)] = ""
    cases: Annotated[tuple[Case, ...], Field(max_length=CASES_MAX)] = ()

    def template(self, prompt_id: str) -> Template:
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return Template.model_construct(id=prompt_id, **values)


class VersionChoice(WireModel):
    """A version by its number. Null: no pin; at a restore, the version that ships."""

    model_config = ConfigDict(extra="forbid")  # a misspelt `version` would take the pin away

    version: VersionNumber | None = None


class PromptSummary(WireModel):
    """`shippedVersion` null: made through the API."""

    id: PromptId
    category: str
    description: str
    current_version: int
    latest_version: int
    shipped_version: int | None
    is_pinned: bool
    is_overridden: bool
    created_at: WireTime
    updated_at: WireTime


class PromptOut(PromptSummary):
    """With the template of the version in use, and the texts of the system messages that it composes."""

    template: PromptBody
    system_messages: dict[str, str]
    cases: list[Case]


class Pagination(WireModel):
    cursor: str | None
    has_more: bool


class PromptsOut(WireModel):
    prompts: list[PromptSummary]
    pagination: Pagination


class VersionSummary(WireModel):
    """`label` is kept with every result; `digest` is of all that shapes a call. `authorId` null: from a file."""

    version: int
    label: str
    digest: str
    is_current: bool
    is_shipped: bool
    author_id: str | None
    created_at: WireTime


class VersionOut(VersionSummary):
    template: PromptBody
    system_messages: dict[str, str]


class VersionsOut(WireModel):
    """The newest first."""

    versions: list[VersionSummary]
    pagination: Pagination


class FieldChange(WireModel):
    """`path` as in the template's file."""

    path: str
    kind: Literal["added", "removed", "changed"]


class DiffOut(WireModel):
    """`unified` is the whole difference line by line, of the two versions written as YAML; empty: they are equal."""

    prompt_id: PromptId
    from_version: int
    to_version: int
    changes: list[FieldChange]
    unified: str
