"""Prompts and their versions as they are stored: a version is never changed, and never made twice of one content."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Integer, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import utc_now
from app.database import Base, JsonColumn, UtcDateTime


class PromptRow(Base):
    """A prompt: what it is for, and which of its versions is in use.

    `shipped_version` is the one that the files hold; null for a prompt that was made through the API. A pinned one
    stays in use whatever comes after it. `revision` grows with every change of the row.
    """

    __tablename__ = "prompts"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    category: Mapped[str] = mapped_column(String(40))
    description: Mapped[str] = mapped_column(String(500))
    cases: Mapped[list[dict[str, Any]]] = mapped_column(JsonColumn)
    current_version: Mapped[int] = mapped_column(Integer)
    shipped_version: Mapped[int | None] = mapped_column(Integer)
    is_pinned: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    revision: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @property
    def is_overridden(self) -> bool:
        """Another version than the files' is in use."""
        return self.shipped_version is not None and self.current_version != self.shipped_version


class PromptVersionRow(Base):
    """What a call with this version is made from, and its digest. `author_id` null: it came from a file."""

    __tablename__ = "prompt_versions"

    prompt_id: Mapped[str] = mapped_column(ForeignKey("prompts.id"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(String(64))
    content: Mapped[dict[str, Any]] = mapped_column(JsonColumn)
    author_id: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    __table_args__ = (UniqueConstraint("prompt_id", "digest"),)
