"""Items, their tags and their journal as they are stored; the ORM class is the entity.

`claim_seq` is the ORM's version counter too: every flush of a changed item names the fence that it read and
moves it on, so no code path can forget to.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    FetchedValue,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from app.accounts.privacy import Privacy, values_in_sql
from app.clock import utc_now
from app.database import Base, JsonColumn, UtcDateTime, new_id
from app.items.item import EnrichmentMode, ItemStatus
from app.worker.work_columns import WorkColumns, work_indexes


class Item(WorkColumns, Base):
    """A captured text on its way into the library.

    `suggestions` is the model's proposal, `[{id, name, status}]`. `search_text` is casefolded and set only
    while the item is in the library. `enrichment` tells where the shown proposal came from: provider, model,
    promptVersion, coverage, cached.
    """

    __tablename__ = "items"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    raw_text: Mapped[str] = mapped_column(Text)
    text_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(20))
    title: Mapped[str | None] = mapped_column(String(100))
    summary: Mapped[str | None] = mapped_column(String(500))
    source_type: Mapped[str | None] = mapped_column(String(10))
    enrichment_mode: Mapped[str] = mapped_column(String(10))
    privacy: Mapped[str] = mapped_column(String(10), default=Privacy.ANY, server_default=Privacy.ANY.value)
    suggestions: Mapped[list[dict[str, Any]]] = mapped_column(JsonColumn, default=list, server_default=text("'[]'"))
    enrichment: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    enrichment_error: Mapped[str | None] = mapped_column(String(500))
    search_text: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    confirmed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        CheckConstraint(f"status IN ({', '.join(repr(str(s)) for s in ItemStatus)})", name="status"),
        CheckConstraint(f"enrichment_mode IN ({', '.join(repr(str(m)) for m in EnrichmentMode)})", name="mode"),
        CheckConstraint(f"privacy IN ({values_in_sql()})", name="privacy"),
        CheckConstraint("(lease_owner IS NULL) = (lease_until IS NULL)", name="lease"),
        *work_indexes("items", ItemStatus.ENRICHING),
        Index(
            "ix_items_pending",
            "user_id",
            "created_at",
            "id",
            sqlite_where=text("status IN ('ENRICHING', 'READY_TO_CONFIRM', 'FAILED')"),
            postgresql_where=text("status IN ('ENRICHING', 'READY_TO_CONFIRM', 'FAILED')"),
        ),
        Index(
            "ix_items_discarded",
            "updated_at",
            sqlite_where=text("status = 'DISCARDED'"),
            postgresql_where=text("status = 'DISCARDED'"),
        ),
        Index(
            "ix_items_library",
            "user_id",
            "confirmed_at",
            "id",
            sqlite_where=text("status = 'ARCHIVED'"),
            postgresql_where=text("status = 'ARCHIVED'"),
        ),
    )

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.claim_seq}


class ItemEvent(Base):
    """One line of an item's journal, which feeds its history and the live events.

    Readers page by `(tx, seq)`: on PostgreSQL a transaction with a lower `seq` may commit later, so they read
    only what lies before the oldest transaction still under way; on SQLite, where writers are serial, it is
    0. `changes` is `{field: {"from": …, "to": …}}`.
    """

    __tablename__ = "item_events"

    seq: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    tx: Mapped[int] = mapped_column(BigInteger, server_default=FetchedValue())
    item_id: Mapped[str] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(String(36))
    action: Mapped[str] = mapped_column(String(20))
    actor: Mapped[str] = mapped_column(String(10))
    from_status: Mapped[str | None] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20))
    changes: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    __table_args__ = (
        Index("ix_item_events_item", "item_id", "tx", "seq"),
        Index("ix_item_events_user", "user_id", "tx", "seq"),
        Index("ix_item_events_at", "at"),
    )


class Tag(Base):
    """A word of a person's vocabulary; `name_key` is its casefolded form, which is unique for the person."""

    __tablename__ = "tags"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(String(50))
    name_key: Mapped[str] = mapped_column(String(1000))
    color: Mapped[str | None] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (UniqueConstraint("user_id", "name_key"),)


class ItemTag(Base):
    """A tag that a person put on an item, or confirmed."""

    __tablename__ = "item_tags"

    item_id: Mapped[str] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"), primary_key=True)
    tag_id: Mapped[str] = mapped_column(ForeignKey("tags.id"), primary_key=True)
    added_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    __table_args__ = (Index("ix_item_tags_tag", "tag_id"),)


class IdempotencyKey(Base):
    """A create request: its key, the hash of its body, the item that it made; null only before its commit."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_hash: Mapped[str] = mapped_column(String(64))
    item_id: Mapped[str | None] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    __table_args__ = (
        Index("ix_idempotency_keys_created_at", "created_at"),
        # Else whoever deletes an item reads through all keys.
        Index("ix_idempotency_keys_item_id", "item_id"),
    )
