"""Reading items: what waits for a person, the library, search, history, and the journal as live events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Integer, Select, TextClause, bindparam, func, or_, select, text, true, tuple_
from sqlalchemy.orm import Session

from app.cursors import decode_cursor, encode_cursor
from app.errors import InvalidCursor, NotFound
from app.items.item_model import Item, ItemEvent, ItemTag, Tag
from app.items.schemas import SearchMode
from app.items.tagging import name_key, single_spaced

_PENDING = text("items.status IN ('ENRICHING', 'READY_TO_CONFIRM', 'FAILED')")
ARCHIVED = text("items.status = 'ARCHIVED'")
_BEFORE_UNDER_WAY = text("item_events.tx < pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
_WAITING = (Item.user_id == bindparam("user_id"), _PENDING)
# Made once: clients poll this every two seconds.
_NEWEST_PENDING = (
    select(Item)
    .where(*_WAITING)
    .order_by(Item.created_at.desc(), Item.id.desc())
    .limit(bindparam("limit", type_=Integer))
)
_PENDING_COUNT = select(func.count()).select_from(Item).where(*_WAITING)


@dataclass(frozen=True, slots=True)
class Page:
    """Some items, and the cursor that goes on from there; null at the end."""

    items: Sequence[Item]
    cursor: str | None


def own_item(session: Session, user_id: str, item_id: str, *, for_change: bool = False) -> Item:
    """The person's item. Raises NotFound, for another person's too.

    `for_change` locks the row on PostgreSQL, though not against links to it; on SQLite a writing transaction
    has the whole file anyway.
    """
    query = select(Item).where(Item.id == item_id, Item.user_id == user_id)
    item = session.scalar(query.with_for_update(key_share=True) if for_change else query)
    if item is None:
        raise NotFound("There is no item with this id.")
    return item


def pending_items(session: Session, user_id: str, limit: int) -> tuple[Sequence[Item], int]:
    """What waits for the model or the person, newest first, and how many there are in all."""
    items = session.scalars(_NEWEST_PENDING, {"user_id": user_id, "limit": limit}).all()
    if len(items) < limit:
        return items, len(items)
    return items, session.scalar(_PENDING_COUNT, {"user_id": user_id}) or 0


def library_page(
    session: Session, user_id: str, *, words: str, tag: str | None, cursor: str | None, limit: int
) -> Page:
    """Confirmed items, newest first, that hold `words` and carry `tag`."""
    query = _archived(user_id)
    if words:
        query = query.where(_holds(user_id, words))
    if tag:
        query = query.where(_carries(user_id, _is_named(tag)))
    return _page(session, query, cursor, limit)


def search_page(
    session: Session, user_id: str, *, words: str, cursor: str | None, limit: int
) -> tuple[Page, SearchMode, int]:
    """Confirmed items found by `words`: by tag alone when they begin with #, else in every text and tag."""
    sought = words.strip()
    if sought.startswith("#"):
        mode, condition = SearchMode.TAG_ONLY, _carries(user_id, _is_named(sought[1:]))
    else:
        mode, condition = SearchMode.COMBINED, _holds(user_id, sought)
    query = _archived(user_id).where(condition)
    total = session.scalar(select(func.count()).select_from(query.with_only_columns(Item.id).subquery()))
    return _page(session, query, cursor, limit), mode, total or 0


def history_of(session: Session, item: Item) -> Sequence[ItemEvent]:
    """The item's journal, oldest first."""
    query = select(ItemEvent).where(ItemEvent.item_id == item.id).order_by(ItemEvent.tx, ItemEvent.seq)
    return session.scalars(query).all()


def events_after(session: Session, user_id: str, after: tuple[int, int], limit: int) -> Sequence[ItemEvent]:
    """The person's journal past `(tx, seq)`, as far as no transaction still under way can add to it."""
    query = select(ItemEvent).where(ItemEvent.user_id == user_id, tuple_(ItemEvent.tx, ItemEvent.seq) > tuple_(*after))
    query = query.where(_settled(session))
    return session.scalars(query.order_by(ItemEvent.tx, ItemEvent.seq).limit(limit)).all()


def newest_event(session: Session, user_id: str) -> tuple[int, int]:
    """Where the person's journal ends now: only what comes later is news to a new listener."""
    query = select(ItemEvent.tx, ItemEvent.seq).where(ItemEvent.user_id == user_id, _settled(session))
    row = session.execute(query.order_by(ItemEvent.tx.desc(), ItemEvent.seq.desc()).limit(1)).first()
    return (row.tx, row.seq) if row else (0, 0)


def _settled(session: Session) -> ColumnElement[bool] | TextClause:
    """Only what lies before the oldest transaction still under way: nothing can appear there any more."""
    return _BEFORE_UNDER_WAY if session.get_bind().dialect.name == "postgresql" else true()


def _archived(user_id: str) -> Select[Item]:
    return select(Item).where(Item.user_id == user_id, ARCHIVED)


def _carries(user_id: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    tagged = (
        select(ItemTag.item_id)
        .join(Tag, Tag.id == ItemTag.tag_id)
        .where(Tag.user_id == user_id, Tag.deleted_at.is_(None), condition)
    )
    return Item.id.in_(tagged)


def _is_named(name: str) -> ColumnElement[bool]:
    return Tag.name_key == name_key(single_spaced(name))


def _holds(user_id: str, words: str) -> ColumnElement[bool]:
    """The words stand together in a text or a tag; wildcards in them are plain characters."""
    sought = name_key(words)
    return or_(
        Item.search_text.contains(sought, autoescape=True),
        _carries(user_id, Tag.name_key.contains(sought, autoescape=True)),
    )


def _page(session: Session, query: Select[Item], cursor: str | None, limit: int) -> Page:
    if cursor is not None:
        query = query.where(tuple_(Item.confirmed_at, Item.id) < tuple_(*_decode_cursor(cursor)))
    found = session.scalars(query.order_by(Item.confirmed_at.desc(), Item.id.desc()).limit(limit + 1)).all()
    more = len(found) > limit
    items = found[:limit]
    return Page(items, _encode_cursor(items[-1]) if more else None)


def _encode_cursor(item: Item) -> str:
    assert item.confirmed_at is not None  # noqa: S101 - what is archived was confirmed
    return encode_cursor(item.confirmed_at.isoformat(), item.id)


def _decode_cursor(cursor: str) -> tuple[datetime, str]:
    """Where the cursor points."""
    moment, item_id = decode_cursor(cursor, 2)
    try:
        return datetime.fromisoformat(moment), item_id
    except ValueError:
        raise InvalidCursor from None
