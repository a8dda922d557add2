"""The cache as it is stored."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Float, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, PicoUsd, UtcDateTime


class CachedAnswer(Base):
    """An answer that may be given again until `expires_at`.

    `key` is a digest of everything that shaped it; `user_id` null: it holds nothing of a person. `answer` is JSON.
    Tokens and cost are of the call that gave it; a null cost is unknown.
    """

    __tablename__ = "llm_cache"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    task: Mapped[str] = mapped_column(String(40))
    user_id: Mapped[str | None] = mapped_column(String(36))
    provider: Mapped[str] = mapped_column(String(50))
    model: Mapped[str] = mapped_column(String(200))
    answer: Mapped[str] = mapped_column(Text)
    coverage: Mapped[float] = mapped_column(Float)
    tokens: Mapped[int] = mapped_column(Integer)
    cost_usd: Mapped[Decimal | None] = mapped_column(PicoUsd)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index("ix_llm_cache_expires_at", "expires_at"),
        Index("ix_llm_cache_user_id", "user_id"),
    )
