"""Items on the wire, field by field as existing clients know them."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool

from app.accounts.privacy import Privacy
from app.items.item import (
    RAW_TEXT_MAX_CHARS,
    SUMMARY_MAX_CHARS,
    TAG_MAX_CHARS,
    TITLE_MAX_CHARS,
    EnrichmentMode,
    ItemStatus,
    SourceType,
    SuggestionStatus,
)
from app.web import Id, Text, WireModel, WireTime

MAX_IDS = 500
_MAX_TAGS = 50


_Ids = Annotated[list[Id], Field(max_length=_MAX_TAGS)]
TagName = Annotated[Text, Field(max_length=TAG_MAX_CHARS)]


def _without_default(schema: dict[str, Any]) -> None:
    """Where it is left out it need not be true: the preference decides."""
    schema.pop("default", None)


class ItemCreate(WireModel):
    """Where `enrich` is left out, the person's `aiSuggestionsEnabled` decides, which is true by default.

    Where `privacy` is left out or null, `defaultPrivacy` does. A text whose privacy is `none` is saved as by
    `enrich: false`, whatever `enrich` says.
    """

    raw_text: Annotated[Text, Field(min_length=1, max_length=RAW_TEXT_MAX_CHARS)]
    enrich: Annotated[StrictBool, Field(json_schema_extra=_without_default)] = True
    privacy: Privacy | None = None
    tag_ids: _Ids = Field(default_factory=list)


class ItemPatch(WireModel):
    """`action` left out means edit; `tags` replaces the set; `privacy` holds for what is sent from now on."""

    action: Literal["confirm", "discard"] | None = None
    title: Annotated[Text, Field(max_length=TITLE_MAX_CHARS)] | None = None
    summary: Annotated[Text, Field(max_length=SUMMARY_MAX_CHARS)] | None = None
    original_text: Annotated[Text, Field(min_length=1, max_length=RAW_TEXT_MAX_CHARS)] | None = None
    privacy: Privacy | None = None
    tags: Annotated[list[TagName], Field(max_length=_MAX_TAGS)] | None = None
    accepted_suggestion_ids: _Ids = Field(default_factory=list)
    rejected_suggestion_ids: _Ids = Field(default_factory=list)
    added_tag_ids: _Ids = Field(default_factory=list)


class ItemTagOut(WireModel):
    id: str
    name: str
    color: str | None


class SuggestedTagOut(WireModel):
    """`confidence` is null unless it is measured from this person's own history."""

    id: str
    name: str
    status: SuggestionStatus
    confidence: float | None = None
    known: bool


class EnrichmentErrorOut(WireModel):
    """Why the item failed and what to do; `details.family` is the code that older clients know."""

    code: str
    message: str
    next_step: str
    retryable: bool
    details: dict[str, Any]


class EnrichmentOut(WireModel):
    """What enriching the item took so far; a null count or cost is unknown, never 0.

    `seenBy`: the providers that its text was sent to, those included of whom nobody knows whether it reached them; null
    when the books of it have been swept.
    """

    attempts: int
    model: str | None
    provider: str | None
    prompt_version: str | None
    cost_usd: float | None
    input_tokens: int | None
    output_tokens: int | None
    coverage: float | None
    cached: bool
    seen_by: list[str] | None


class WaitingOut(WireModel):
    """Why an item in ENRICHING is not being worked on, and until when it waits at the latest."""

    code: str
    message: str
    next_step: str
    until: WireTime


class ItemOut(WireModel):
    id: str
    raw_text: str
    status: ItemStatus
    title: str | None
    summary: str | None
    tags: list[ItemTagOut]
    suggested_tags: list[SuggestedTagOut]
    source_type: SourceType | None
    enrichment_mode: EnrichmentMode
    privacy: Privacy
    enrichment_error: EnrichmentErrorOut | None
    enrichment: EnrichmentOut | None
    waiting: WaitingOut | None = None
    created_at: WireTime
    updated_at: WireTime
    confirmed_at: WireTime | None
    attachment_count: int
    attachments: list[Any]


class PendingOut(WireModel):
    items: list[ItemOut]
    total: int


class Pagination(WireModel):
    cursor: str | None
    has_more: bool


class LibraryOut(WireModel):
    items: list[ItemOut]
    pagination: Pagination


class SearchMode(StrEnum):
    TAG_ONLY = "tag_only"
    COMBINED = "combined"


class SearchOut(WireModel):
    items: list[ItemOut]
    mode: SearchMode
    pagination: Pagination
    total: int


BulkAction = Literal["confirm", "discard", "retry"]


class BulkRequest(WireModel):
    action: BulkAction
    ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_IDS)]


class BulkError(WireModel):
    code: str
    message: str
    details: dict[str, Any] | None = None


class BulkResult(WireModel):
    """Either the item's new status or why it was left as it is."""

    id: str
    status: ItemStatus | None = None
    error: BulkError | None = None


class BulkOut(WireModel):
    results: list[BulkResult]


class HistoryEvent(WireModel):
    action: str
    actor: str
    from_status: ItemStatus | None
    status: ItemStatus
    changes: dict[str, Any] | None
    at: WireTime


class HistoryOut(WireModel):
    events: list[HistoryEvent]


_Color = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$", examples=["#1e90ff"])]


class TagCreate(WireModel):
    name: Annotated[TagName, Field(min_length=1)]
    color: _Color | None = None


class TagPatch(WireModel):
    """A field left out stays as it is; `color: null` takes the colour away."""

    name: Annotated[TagName, Field(min_length=1)] | None = None
    color: _Color | None = None


class TagMerge(WireModel):
    source_tag_ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_IDS)]
    target_tag_id: Id


class TagOut(WireModel):
    """`usageCount` counts confirmed items; `lastUsed` is when the tag was last put on one or confirmed."""

    id: str
    name: str
    usage_count: int
    last_used: WireTime | None
    created_at: WireTime
    color: str | None


class TagsOut(WireModel):
    tags: list[TagOut]
    total: int
