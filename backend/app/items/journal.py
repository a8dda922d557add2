"""The journal: every change of an item leaves one line, in the transaction that made the change."""

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Table, insert
from sqlalchemy.orm import Session

from app.announcements import news_of
from app.items.item import Action, Actor
from app.items.item_model import Item, ItemEvent

CREATED = "create"
# Straight into the table: this is written with every change, and the unit of work would take three times as long.
_INSERT_LINE = insert(cast("Table", ItemEvent.__table__)).inline()


def record(
    session: Session,
    item: Item,
    action: Action | str,
    *,
    from_status: str | None,
    changes: Mapping[str, Any] | None = None,
    actor: Actor = Actor.PERSON,
) -> None:
    """Note a change of `item` and announce it to its owner's listeners after the commit."""
    line = {
        "item_id": item.id,
        "user_id": item.user_id,
        "action": str(action),
        "actor": actor,
        "from_status": from_status,
        "status": item.status,
        "changes": dict(changes) if changes else None,
        "at": item.updated_at,
    }
    session.connection().execute(_INSERT_LINE, line)
    news_of(session).users.add(item.user_id)
