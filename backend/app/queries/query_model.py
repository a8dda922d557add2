"""Queries as they are stored: what was asked, and the answer; the ORM class is the entity.

A row is its own job, as an item is. One whose answer is waited for by an open request is born leased to the process
of that request, with `attempt` 0: should the process die, the lease runs out and the lane takes the row over.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import utc_now
from app.database import Base, JsonColumn, UtcDateTime, new_id
from app.worker.work_columns import WorkColumns, work_indexes


class QueryStatus(StrEnum):
    """RUNNING: waits for its turn or for the model. The others are final."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Query(WorkColumns, Base):
    """A question. `request` is its body, with the version of the prompt that was in use when it was asked.

    `answer` is `{content, data, finishReason}`, `receipt` says where it came from and what it took, `query_error` is
    `CODE: sentence`.
    """

    __tablename__ = "queries"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str] = mapped_column(String(20))
    request: Mapped[dict[str, Any]] = mapped_column(JsonColumn)
    answer: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    receipt: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    query_error: Mapped[str | None] = mapped_column(String(500))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    body_hash: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    __table_args__ = (
        CheckConstraint(f"status IN ({', '.join(repr(str(s)) for s in QueryStatus)})", name="status"),
        CheckConstraint("(lease_owner IS NULL) = (lease_until IS NULL)", name="lease"),
        UniqueConstraint("user_id", "idempotency_key"),
        *work_indexes("queries", QueryStatus.RUNNING),
        Index(
            "ix_queries_ended",
            "updated_at",
            sqlite_where=text(f"status <> '{QueryStatus.RUNNING}'"),
            postgresql_where=text(f"status <> '{QueryStatus.RUNNING}'"),
        ),
    )
