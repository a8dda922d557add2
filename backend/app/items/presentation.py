"""From stored items to what a client sees, for any number of items in a fixed number of statements."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, Row, bindparam, func, or_, select
from sqlalchemy.orm import Session

from app.accounts.privacy import Privacy
from app.errors import LLMError, llm_errors
from app.items.item import EnrichmentMode, ItemStatus, SourceType, SuggestionStatus
from app.items.item_model import Item, ItemTag, Tag
from app.items.schemas import EnrichmentErrorOut, EnrichmentOut, ItemOut, ItemTagOut, SuggestedTagOut, WaitingOut
from app.items.tagging import name_key
from app.llm.attempts import AttemptOutcome
from app.llm.ledger.attempt_model import LLMAttempt

_ERRORS = llm_errors()
_MADE = or_(LLMAttempt.outcome.is_(None), LLMAttempt.outcome != AttemptOutcome.UNUSED)
# Under way or in doubt: it may have left, so it counts.
_SENT = LLMAttempt.outcome.is_distinct_from(AttemptOutcome.CACHED)
_IDS: BindParameter[str] = bindparam("ids", expanding=True)
# Made once: clients poll every two seconds, and to build these anew took longer than to run them.
_LINKS = (
    select(ItemTag.item_id, Tag)
    .join(Tag, Tag.id == ItemTag.tag_id)
    .where(ItemTag.item_id.in_(_IDS), Tag.deleted_at.is_(None))
)
_VOCABULARY = select(Tag).where(
    Tag.user_id == bindparam("user_id"), Tag.name_key.in_(bindparam("keys", expanding=True)), Tag.deleted_at.is_(None)
)
_SPENT = (
    select(
        LLMAttempt.item_id,
        func.count().label("calls"),
        func.count(LLMAttempt.input_tokens).label("inputs_known"),
        func.sum(LLMAttempt.input_tokens).label("input_tokens"),
        func.count(LLMAttempt.output_tokens).label("outputs_known"),
        func.sum(LLMAttempt.output_tokens).label("output_tokens"),
        func.count(LLMAttempt.cost_usd).label("costs_known"),
        func.sum(LLMAttempt.cost_usd).label("cost_usd"),
        func.aggregate_strings(LLMAttempt.provider, ",").filter(_SENT).label("seen_by"),
    )
    .where(LLMAttempt.item_id.in_(_IDS), _MADE)
    .group_by(LLMAttempt.item_id)
)
_Row = Row[*tuple[Any, ...]]


def present(session: Session, items: Sequence[Item]) -> list[ItemOut]:
    """The items as a client sees them, in the same order; all of one person."""
    if not items:
        return []
    ids = [item.id for item in items]
    links, spent = _links(session, ids), _spent(session, ids)
    keys = {name_key(entry["name"]) for item in items for entry in item.suggestions}
    vocabulary = _vocabulary(session, items[0].user_id, keys)
    return [_present_one(item, links[item.id], vocabulary, spent.get(item.id)) for item in items]


def present_new(item: Item, tags: Sequence[Tag]) -> ItemOut:
    """An item that was made just now: nothing was spent on it and nothing is proposed."""
    return _present_one(item, tags, {}, None)


def _links(session: Session, ids: Sequence[str]) -> dict[str, list[Tag]]:
    linked: dict[str, list[Tag]] = defaultdict(list)
    for item_id, tag in session.execute(_LINKS, {"ids": ids}):
        linked[item_id].append(tag)
    return linked


def _vocabulary(session: Session, user_id: str, keys: set[str]) -> dict[str, Tag]:
    if not keys:
        return {}
    return {tag.name_key: tag for tag in session.scalars(_VOCABULARY, {"user_id": user_id, "keys": list(keys)})}


def _spent(session: Session, ids: Sequence[str]) -> dict[str, _Row]:
    """Per item: how many upstream calls, and for each sum how many of them it knows."""
    return {str(row.item_id): row for row in session.execute(_SPENT, {"ids": ids})}


def _present_one(item: Item, links: Sequence[Tag], vocabulary: dict[str, Tag], spent: _Row | None) -> ItemOut:
    enrichment = _enrichment(item, spent)
    return ItemOut.model_construct(
        id=item.id,
        raw_text=item.raw_text,
        status=ItemStatus(item.status),
        title=item.title,
        summary=item.summary,
        tags=_carried(item, links, vocabulary),
        suggested_tags=[_suggested(entry, vocabulary) for entry in item.suggestions],
        source_type=SourceType(item.source_type) if item.source_type else None,
        enrichment_mode=EnrichmentMode(item.enrichment_mode),
        privacy=Privacy(item.privacy),
        enrichment_error=_error(item, enrichment),
        enrichment=enrichment,
        waiting=_waiting(item),
        created_at=item.created_at,
        updated_at=item.updated_at,
        confirmed_at=item.confirmed_at,
        attachment_count=0,
        attachments=[],
    )


def _carried(item: Item, links: Sequence[Tag], vocabulary: dict[str, Tag]) -> list[ItemTagOut]:
    """The links and, before the confirmation, the proposals not rejected; in the order of names."""
    carried = {tag.name_key: ItemTagOut.model_construct(id=tag.id, name=tag.name, color=tag.color) for tag in links}
    if item.confirmed_at is None:
        for entry in item.suggestions:
            key = name_key(entry["name"])
            if entry["status"] == SuggestionStatus.REJECTED or key in carried:
                continue
            known = vocabulary.get(key)
            carried[key] = ItemTagOut.model_construct(
                id=known.id if known else entry["id"],
                name=known.name if known else entry["name"],
                color=known.color if known else None,
            )
    return [carried[key] for key in sorted(carried)]


def _suggested(entry: dict[str, Any], vocabulary: dict[str, Tag]) -> SuggestedTagOut:
    return SuggestedTagOut.model_construct(
        id=entry["id"],
        name=entry["name"],
        status=SuggestionStatus(entry["status"]),
        known=name_key(entry["name"]) in vocabulary,
    )


def _enrichment(item: Item, spent: _Row | None) -> EnrichmentOut | None:
    source = item.enrichment or {}
    if spent is None and not source:
        return None
    calls = spent.calls if spent else 0
    return EnrichmentOut.model_construct(
        attempts=calls,
        model=source.get("model"),
        provider=source.get("provider"),
        prompt_version=source.get("promptVersion"),
        cost_usd=float(spent.cost_usd) if spent and spent.costs_known == calls else None,
        input_tokens=spent.input_tokens if spent and spent.inputs_known == calls else None,
        output_tokens=spent.output_tokens if spent and spent.outputs_known == calls else None,
        coverage=source.get("coverage"),
        cached=source.get("cached", False),
        seen_by=None if spent is None else sorted(set((spent.seen_by or "").split(",")) - {""}),
    )


def _waiting(item: Item) -> WaitingOut | None:
    if item.status != ItemStatus.ENRICHING or item.wait_code is None:
        return None
    if item.not_before is None or item.lease_owner is not None:
        return None
    kind = _ERRORS.get(item.wait_code, LLMError)
    return WaitingOut.model_construct(
        code=item.wait_code, message=kind.sentence, next_step=kind.next_step, until=item.not_before
    )


def _error(item: Item, enrichment: EnrichmentOut | None) -> EnrichmentErrorOut | None:
    """The stored error is `CODE: sentence`; the next step is always the code's of today."""
    if item.enrichment_error is None:
        return None
    code, _, message = item.enrichment_error.partition(": ")
    kind = _ERRORS.get(code, LLMError)
    details = {
        "family": kind.family,
        "attempts": enrichment.attempts if enrichment else 0,
        "costUsd": enrichment.cost_usd if enrichment else None,
    }
    return EnrichmentErrorOut.model_construct(
        code=code, message=message, next_step=kind.next_step, retryable=kind.retryable, details=details
    )
