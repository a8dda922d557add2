"""What a person does with their vocabulary, each inside the caller's writing transaction.

A deleted tag keeps its row and its links, hidden: made again by its person, it comes back onto its items.
Whoever renames, deletes or merges has the vocabulary alone, so no item is tagged from a state that is gone.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, case, collate, delete, func, insert, select
from sqlalchemy import literal as value_of
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.announcements import news_of
from app.clock import utc_now
from app.database import new_id
from app.errors import InvalidInput, NotFound, TagExists
from app.items.item import Action, Actor, ItemStatus
from app.items.item_model import Item, ItemEvent, ItemTag, Tag
from app.items.queries import ARCHIVED
from app.items.schemas import TagCreate, TagOut, TagPatch
from app.items.tagging import clean_name, lock_vocabulary, name_key


class TagSort(StrEnum):
    """NAME rises; USAGE and LAST_USED begin with the most and the newest."""

    NAME = "name"
    USAGE = "usage"
    LAST_USED = "lastUsed"


def list_tags(
    session: Session, user_id: str, *, words: str, sort: TagSort, only_unused: bool, limit: int
) -> tuple[list[TagOut], int]:
    """The person's tags whose names hold `words`, and how many there are beyond `limit` too."""
    query = _with_usage(user_id).limit(limit)
    if words:
        query = query.where(Tag.name_key.contains(name_key(words), autoescape=True))
    columns = query.selected_columns
    if only_unused:
        query = query.where(columns.usage_count == 0)
    by_name = collate(Tag.name_key, "C" if _on_postgres(session) else "BINARY")
    if sort is TagSort.USAGE:
        query = query.order_by(columns.usage_count.desc())
    elif sort is TagSort.LAST_USED:
        query = query.order_by(columns.last_used.desc().nulls_last())
    rows = session.execute(query.order_by(by_name)).all()
    return [_shown(row) for row in rows], rows[0].total if rows else 0


def create_tag(session: Session, user_id: str, request: TagCreate) -> tuple[TagOut, bool]:
    """The tag of this name, and whether it was made or revived just now; a live one stays as it is."""
    lock_vocabulary(session, user_id, alone=True)
    name, now = clean_name(request.name, "name"), utc_now()
    known = session.scalar(select(Tag).where(Tag.user_id == user_id, Tag.name_key == name_key(name)))
    if known is not None and known.deleted_at is None:
        return _present(session, user_id, known.id), False
    tag = known or Tag(id=new_id(), user_id=user_id, name_key=name_key(name), created_at=now)
    tag.name, tag.color, tag.deleted_at, tag.updated_at = name, request.color, None, now
    session.add(tag)
    session.flush()
    _announce(session, user_id, [tag.id], before=[], after=[name])
    return _present(session, user_id, tag.id), True


def change_tag(session: Session, user_id: str, tag_id: str, patch: TagPatch) -> TagOut:
    """Rename or recolour. Raises NotFound, TagExists, InvalidInput."""
    lock_vocabulary(session, user_id, alone=True)
    tag = _own_tag(session, user_id, tag_id)
    if tag.deleted_at is not None:
        raise NotFound("There is no tag with this id.")
    before = (tag.name, tag.color)
    if patch.name is not None:
        _rename(session, tag, clean_name(patch.name, "name"))
    if "color" in patch.model_fields_set:
        tag.color = patch.color
    if (tag.name, tag.color) != before:
        tag.updated_at = utc_now()
        session.flush()
        _announce(session, user_id, [tag.id], before=[before[0]], after=[tag.name])
    return _present(session, user_id, tag.id)


def delete_tag(session: Session, user_id: str, tag_id: str) -> None:
    """Take the tag out of the vocabulary and off its items; again is as good as once. Raises NotFound."""
    lock_vocabulary(session, user_id, alone=True)
    tag = _own_tag(session, user_id, tag_id)
    if tag.deleted_at is None:
        tag.deleted_at = tag.updated_at = utc_now()
        session.flush()
        _announce(session, user_id, [tag.id], before=[tag.name], after=[])


def merge_tags(session: Session, user_id: str, source_ids: Sequence[str], target_id: str) -> TagOut:
    """Put the target in the place of the sources on every item; sources deleted before are left alone.

    Safe to repeat. Raises InvalidInput for an unknown or foreign id and for a target among the sources.
    """
    wanted = set(source_ids)
    if target_id in wanted:
        raise InvalidInput("A tag cannot be merged into itself.", {"field": "sourceTagIds"})
    lock_vocabulary(session, user_id, alone=True)
    tags = {
        tag.id: tag
        for tag in session.scalars(select(Tag).where(Tag.user_id == user_id, Tag.id.in_(wanted | {target_id})))
    }
    target = tags.pop(target_id, None)
    if target is None or target.deleted_at is not None:
        raise InvalidInput("The target tag's id is unknown.", {"field": "targetTagId", "rule": "unknown"})
    if len(tags) != len(wanted):
        raise InvalidInput("A tag id is unknown.", {"field": "sourceTagIds", "rule": "unknown"})
    sources = [tag for tag in tags.values() if tag.deleted_at is None]
    if sources:
        ids, names = [tag.id for tag in sources], sorted(tag.name for tag in sources)
        _announce(session, user_id, ids, before=names, after=[target.name])
        _move_links(session, ids, target_id)
        for tag in sources:
            tag.deleted_at = tag.updated_at = utc_now()
        session.flush()
    return _present(session, user_id, target_id)


def _rename(session: Session, tag: Tag, name: str) -> None:
    key = name_key(name)
    holder = session.scalar(select(Tag).where(Tag.user_id == tag.user_id, Tag.name_key == key, Tag.id != tag.id))
    if holder is not None:
        if holder.deleted_at is None:
            raise TagExists
        holder.name_key = f" {holder.id}"  # no cleaned name begins with a space: nothing will revive it
        session.flush()
    tag.name, tag.name_key = name, key


def _move_links(session: Session, source_ids: Sequence[str], target_id: str) -> None:
    """An item that carries several of these tags gets one link."""
    moved = (
        select(ItemTag.item_id, value_of(target_id), func.max(ItemTag.added_at))
        .where(ItemTag.tag_id.in_(source_ids))
        .group_by(ItemTag.item_id)
    )
    dialect_insert = postgresql.insert if _on_postgres(session) else sqlite.insert
    statement = dialect_insert(ItemTag).from_select(["item_id", "tag_id", "added_at"], moved)
    session.execute(statement.on_conflict_do_nothing())
    session.execute(delete(ItemTag).where(ItemTag.tag_id.in_(source_ids)))


def _announce(
    session: Session, user_id: str, tag_ids: Sequence[str], *, before: Sequence[str], after: Sequence[str]
) -> None:
    """A line in the journal of each item that shows one of these tags, for its history and the live events.

    The items' rows stay untouched: their locks, taken here after the tags', could deadlock with an edit.
    """
    changes = {"tags": {"from": list(before), "to": list(after)}}
    lines = select(
        Item.id,
        Item.user_id,
        value_of(str(Action.EDIT)),
        value_of(str(Actor.PERSON)),
        Item.status,
        Item.status,
        value_of(changes, ItemEvent.changes.type),
        value_of(utc_now(), ItemEvent.at.type),
    ).where(
        Item.user_id == user_id,
        Item.status != ItemStatus.DISCARDED,
        Item.id.in_(select(ItemTag.item_id).where(ItemTag.tag_id.in_(tag_ids))),
    )
    columns = ["item_id", "user_id", "action", "actor", "from_status", "status", "changes", "at"]
    session.execute(insert(ItemEvent).from_select(columns, lines, include_defaults=False))
    news_of(session).users.add(user_id)


def _own_tag(session: Session, user_id: str, tag_id: str) -> Tag:
    """The person's tag, deleted or not. Raises NotFound, for another person's too."""
    tag = session.scalar(select(Tag).where(Tag.id == tag_id, Tag.user_id == user_id))
    if tag is None:
        raise NotFound("There is no tag with this id.")
    return tag


def _with_usage(user_id: str, tag_id: str | None = None) -> Select[Any]:
    """Live tags with their use on confirmed items; `last_used` is the newest tagging or confirmation."""
    moment = case((ItemTag.added_at > Item.confirmed_at, ItemTag.added_at), else_=Item.confirmed_at)
    used = (
        select(ItemTag.tag_id, func.count().label("times"), func.max(moment).label("last_used"))
        .join(Item, Item.id == ItemTag.item_id)
        .where(Item.user_id == user_id, ARCHIVED)
        .group_by(ItemTag.tag_id)
    )
    condition: ColumnElement[bool] = Tag.deleted_at.is_(None)
    if tag_id is not None:
        used, condition = used.where(ItemTag.tag_id == tag_id), Tag.id == tag_id
    usage = used.subquery()
    return (
        select(
            Tag,
            func.coalesce(usage.c.times, 0).label("usage_count"),
            usage.c.last_used,
            func.count().over().label("total"),
        )
        .outerjoin(usage, usage.c.tag_id == Tag.id)
        .where(Tag.user_id == user_id, condition)
    )


def _present(session: Session, user_id: str, tag_id: str) -> TagOut:
    return _shown(session.execute(_with_usage(user_id, tag_id)).one())


def _shown(row: Row[Any]) -> TagOut:
    tag: Tag = row.Tag
    last_used: datetime | None = row.last_used
    return TagOut(
        id=tag.id,
        name=tag.name,
        usage_count=row.usage_count,
        last_used=last_used,
        created_at=tag.created_at,
        color=tag.color,
    )


def _on_postgres(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
