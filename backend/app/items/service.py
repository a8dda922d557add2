"""What a person does with items: one function a use case, each inside the caller's writing transaction.

Every change asks `item.next_status` first, moves the fence with its flush, and leaves a line in the journal.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from pydantic.alias_generators import to_camel
from sqlalchemy import Table, bindparam, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.accounts.privacy import Privacy
from app.accounts.user_model import User
from app.announcements import news_of
from app.clock import utc_now
from app.database import new_id
from app.errors import DuplicateRequest, InvalidInput
from app.items.item import (
    MANUAL_TITLE_MAX_CHARS,
    Action,
    EnrichmentMode,
    ItemStatus,
    SourceType,
    next_status,
)
from app.items.item_model import IdempotencyKey, Item
from app.items.journal import CREATED, record
from app.items.presentation import present, present_new
from app.items.queries import own_item
from app.items.schemas import ItemCreate, ItemOut, ItemPatch
from app.items.tagging import apply_tags, is_blank, link_tags, name_key, owned_tags, reopen_suggestions
from app.spending.quotas import Counted, take_daily
from app.worker.fairness import fair_rank

IDEMPOTENCY_HOURS = 24
_ITEMS = cast("Table", Item.__table__)
_USERS = cast("Table", User.__table__)
_RANK = fair_rank(_ITEMS, ItemStatus.ENRICHING, bindparam("owner_id", type_=_ITEMS.c.user_id.type))
_PREFERENCES = select(_USERS.c.ai_suggestions_enabled, _USERS.c.default_privacy).where(
    _USERS.c.id == bindparam("user_id")
)
_INSERT = insert(_ITEMS).inline()
_INSERT_QUEUED = _INSERT.values(rank=_RANK)
_INSERTED = (
    *("id", "user_id", "raw_text", "text_hash", "status", "title", "source_type", "enrichment_mode", "suggestions"),
    *("privacy", "search_text", "created_at", "updated_at", "confirmed_at"),
)


@dataclass(frozen=True, slots=True)
class Created:
    """The answer to a create request; `replayed` when an earlier request with this key had made the item."""

    item: ItemOut
    replayed: bool = False


def create_item(
    session: Session,
    user_id: str,
    request: ItemCreate,
    idempotency_key: str | None = None,
    *,
    daily_quota: int = 0,
) -> Created:
    """Capture a text; where the request does not say `enrich` or `privacy`, the person's preferences do.

    Raises InvalidInput for a blank text or an unknown tag, DuplicateRequest for a reused key, DailyQuotaExceeded.
    """
    raw_text = _not_blank("rawText", request.raw_text)
    item_id = None
    if idempotency_key is not None:
        item_id = _earlier_item(session, user_id, idempotency_key, _hash(request.model_dump_json(exclude_unset=True)))
        if item_id is not None:
            return Created(present(session, [own_item(session, user_id, item_id)])[0], replayed=True)
    take_daily(session, user_id, Counted.ITEMS, daily_quota)
    tags = owned_tags(session, user_id, request.tag_ids, "tagIds")
    enrich, privacy = _wishes(session, user_id, request)
    item = _new_item(user_id, raw_text, privacy, enrich=enrich)
    _insert(session, item)
    if tags:
        link_tags(session, item.id, tags)
    record(session, item, CREATED, from_status=None)
    if idempotency_key is not None:
        _remember(session, user_id, idempotency_key, item.id)
    if item.status == ItemStatus.ENRICHING:
        news_of(session).ready_in.add(_ITEMS.name)
    return Created(present_new(item, tags))


def change_item(session: Session, user_id: str, item_id: str, patch: ItemPatch) -> ItemOut:
    """Confirm, discard or edit. Raises NotFound, InvalidTransition, InvalidInput."""
    item = own_item(session, user_id, item_id, for_change=True)
    action = Action(patch.action or Action.EDIT)
    was = ItemStatus(item.status)
    status = next_status(was, action, EnrichmentMode(item.enrichment_mode), Privacy(item.privacy))
    if action is Action.DISCARD:
        _discard(session, item)
    else:
        changes = _edit(item, patch)
        if action is Action.CONFIRM and item.title is None:
            raise InvalidInput("Give a title to confirm an item that failed.", {"field": "title"})
        item.status = status
        if action is Action.CONFIRM or _names_tags(patch):
            before, after = apply_tags(session, item, patch)
            if before != after:
                changes["tags"] = {"from": before, "to": after}
        if action is Action.CONFIRM:
            item.confirmed_at = utc_now()
            item.enrichment_error = None
        elif not changes and not session.is_modified(item):
            return present(session, [item])[0]
        _reach(item)
        record(session, item, action, from_status=was, changes=changes)
    session.flush()
    return present(session, [item])[0]


def retry_item(session: Session, user_id: str, item_id: str) -> ItemOut:
    """Enrich a failed item once more, with all its attempts. Raises NotFound, InvalidTransition."""
    item = own_item(session, user_id, item_id, for_change=True)
    was = item.status
    item.status = next_status(ItemStatus(was), Action.RETRY, privacy=Privacy(item.privacy))
    item.enrichment_error = item.not_before = None
    item.attempt = item.deaths = 0
    item.rank = fair_rank(_ITEMS, ItemStatus.ENRICHING, user_id)
    item.updated_at = utc_now()
    record(session, item, Action.RETRY, from_status=was)
    session.flush()
    news_of(session).ready_in.add(_ITEMS.name)
    return present(session, [item])[0]


def unconfirm_item(session: Session, user_id: str, item_id: str) -> ItemOut:
    """Take a confirmed item back to its suggestions. Raises NotFound, InvalidTransition."""
    item = own_item(session, user_id, item_id, for_change=True)
    was = item.status
    item.status = next_status(ItemStatus(was), Action.UNCONFIRM, EnrichmentMode(item.enrichment_mode))
    reopen_suggestions(session, item)
    item.confirmed_at = item.search_text = None
    item.updated_at = utc_now()
    record(session, item, Action.UNCONFIRM, from_status=was)
    session.flush()
    return present(session, [item])[0]


def _discard(session: Session, item: Item) -> None:
    was = item.status
    item.status = ItemStatus.DISCARDED
    item.lease_owner = item.lease_until = item.not_before = None
    item.updated_at = utc_now()
    record(session, item, Action.DISCARD, from_status=was)
    if was == ItemStatus.ENRICHING:
        news_of(session).stopped.add(item.id)


def _edit(item: Item, patch: ItemPatch) -> dict[str, Any]:
    """Set the fields that the patch names; returns what changed, for the journal."""
    wanted: dict[str, str | None] = {}
    if patch.title is not None:
        wanted["title"] = _not_blank("title", patch.title)
    if patch.summary is not None:
        wanted["summary"] = patch.summary.strip() or None
    if patch.original_text is not None:
        wanted["raw_text"] = _not_blank("originalText", patch.original_text)
        item.text_hash = _hash(wanted["raw_text"] or "")
    if patch.privacy is not None:
        wanted["privacy"] = patch.privacy.value
    changes = {}
    for field, value in wanted.items():
        before = getattr(item, field)
        if before != value:
            changes[to_camel(field)] = {"from": before, "to": value}
            setattr(item, field, value)
    return changes


def _reach(item: Item) -> None:
    item.updated_at = utc_now()
    if item.status == ItemStatus.ARCHIVED:
        item.search_text = name_key("\n".join(part for part in (item.title, item.summary, item.raw_text) if part))


def _names_tags(patch: ItemPatch) -> bool:
    ids = (patch.accepted_suggestion_ids, patch.rejected_suggestion_ids, patch.added_tag_ids)
    return patch.tags is not None or any(ids)


def _wishes(session: Session, user_id: str, request: ItemCreate) -> tuple[bool, Privacy]:
    """Whether a model is asked, and how private the text is.

    A text that no model may see is not left to wait for one, nor fails for want of one: it is saved at once. That holds
    against `enrich: true` too, which older clients always send, whatever the person has chosen.
    """
    enrich, privacy = request.enrich, request.privacy
    if "enrich" not in request.model_fields_set or privacy is None:
        found = session.connection().execute(_PREFERENCES, {"user_id": user_id}).first()
        wants_suggestions, default_privacy = found or (True, Privacy.ANY)
        enrich = enrich if "enrich" in request.model_fields_set else wants_suggestions
        privacy = privacy or Privacy(default_privacy)
    return enrich and privacy is not Privacy.NONE, privacy


def _new_item(user_id: str, raw_text: str, privacy: Privacy, *, enrich: bool) -> Item:
    now = utc_now()
    item = Item(
        id=new_id(),
        user_id=user_id,
        raw_text=raw_text,
        text_hash=_hash(raw_text),
        status=ItemStatus.ENRICHING,
        enrichment_mode=EnrichmentMode.AI,
        privacy=privacy,
        suggestions=[],
        created_at=now,
        updated_at=now,
    )
    if not enrich:
        first_line = next(line for line in raw_text.splitlines() if not is_blank(line))
        item.title = first_line.strip()[:MANUAL_TITLE_MAX_CHARS].rstrip()
        item.status, item.enrichment_mode = ItemStatus.ARCHIVED, EnrichmentMode.MANUAL
        item.source_type, item.confirmed_at = SourceType.NOTE, now
        _reach(item)
    return item


def _insert(session: Session, item: Item) -> None:
    """Straight into the table, by a statement made once: capturing must be fast, and the ORM takes thrice as long."""
    row = {name: getattr(item, name) for name in _INSERTED}
    row["claim_seq"] = 1  # where the ORM's version counter begins
    if item.status == ItemStatus.ENRICHING:
        session.connection().execute(_INSERT_QUEUED, {**row, "owner_id": item.user_id})
    else:
        session.connection().execute(_INSERT, row)


def _earlier_item(session: Session, user_id: str, key: str, body_hash: str) -> str | None:
    """The item of an earlier request with this key; null when the key is ours now.

    The row is put down first, so of two parallel requests one waits here for the other's commit. Raises
    DuplicateRequest when the earlier request had another body.
    """
    now = utc_now()
    insert_or = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    row = {"user_id": user_id, "key": key, "body_hash": body_hash, "item_id": None, "created_at": now}
    statement = insert_or(IdempotencyKey).values(row)
    statement = statement.on_conflict_do_update(
        index_elements=["user_id", "key"],
        set_={"body_hash": body_hash, "item_id": None, "created_at": now},
        where=IdempotencyKey.created_at < now - timedelta(hours=IDEMPOTENCY_HOURS),
    )
    if session.execute(statement.returning(IdempotencyKey.key)).first() is not None:
        return None
    earlier = session.execute(
        select(IdempotencyKey.body_hash, IdempotencyKey.item_id).where(
            IdempotencyKey.user_id == user_id, IdempotencyKey.key == key
        )
    ).one()
    if earlier.body_hash != body_hash:
        raise DuplicateRequest
    return str(earlier.item_id)


def _remember(session: Session, user_id: str, key: str, item_id: str) -> None:
    session.execute(
        text("UPDATE idempotency_keys SET item_id = :item_id WHERE user_id = :user_id AND key = :key"),
        {"item_id": item_id, "user_id": user_id, "key": key},
    )


def _not_blank(field: str, value: str) -> str:
    if is_blank(value):
        raise InvalidInput(f"{field} must not be blank.", {"field": field, "rule": "blank"})
    return value.strip()


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
