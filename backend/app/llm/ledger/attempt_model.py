"""The books as they are stored: one row for every upstream call, written before it leaves, settled once, kept."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, Boolean, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, PicoUsd, UtcDateTime


class LLMAttempt(Base):
    """An upstream call made for a row of a lane, under the fence that the row had.

    Where there is no row, `item_id` is the call that the attempts belong to, `claim_seq` is 0, and after
    `expires_at` nobody can still be at it. `outcome` null: under way. CACHED: no call left, `saved_tokens` and
    `saved_usd` are what it would have used. Prices are USD a token at the time of the call; a null count, price or
    cost is unknown, never 0. `reserved_usd`, the most that it may cost, counts as spent while the cost is unknown. The
    ids carry no foreign key: the books outlive what they were spent on.
    """

    __tablename__ = "llm_attempts"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    lane: Mapped[str] = mapped_column(String(20))
    item_id: Mapped[str] = mapped_column(String(36))
    user_id: Mapped[str] = mapped_column(String(36))
    claim_seq: Mapped[int] = mapped_column(BigInteger)
    provider: Mapped[str] = mapped_column(String(50))
    model: Mapped[str] = mapped_column(String(200))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    outcome: Mapped[str | None] = mapped_column(String(10))
    error_code: Mapped[str | None] = mapped_column(String(40))
    input_tokens: Mapped[int | None] = mapped_column(Integer)
    output_tokens: Mapped[int | None] = mapped_column(Integer)
    input_price_usd: Mapped[Decimal | None] = mapped_column(PicoUsd)
    output_price_usd: Mapped[Decimal | None] = mapped_column(PicoUsd)
    cost_usd: Mapped[Decimal | None] = mapped_column(PicoUsd)
    reserved_usd: Mapped[Decimal | None] = mapped_column(PicoUsd)
    task: Mapped[str | None] = mapped_column(String(40))
    prompt_id: Mapped[str | None] = mapped_column(String(100))
    prompt_version: Mapped[int | None] = mapped_column(Integer)
    api_key_id: Mapped[str | None] = mapped_column(String(36))
    reason: Mapped[str | None] = mapped_column(String(200))
    is_stream: Mapped[bool | None] = mapped_column(Boolean)
    cached_tokens: Mapped[int | None] = mapped_column(Integer)
    cached_price_usd: Mapped[Decimal | None] = mapped_column(PicoUsd)
    latency_ms: Mapped[int | None] = mapped_column(Integer)
    first_token_ms: Mapped[int | None] = mapped_column(Integer)
    saved_tokens: Mapped[int | None] = mapped_column(Integer)
    saved_usd: Mapped[Decimal | None] = mapped_column(PicoUsd)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index("ix_llm_attempts_item", "item_id"),
        Index(
            "ix_llm_attempts_open",
            "item_id",
            sqlite_where=text("outcome IS NULL"),
            postgresql_where=text("outcome IS NULL"),
        ),
        Index(
            "ix_llm_attempts_expiring",
            "expires_at",
            sqlite_where=text("outcome IS NULL AND expires_at IS NOT NULL"),
            postgresql_where=text("outcome IS NULL AND expires_at IS NOT NULL"),
        ),
    )
