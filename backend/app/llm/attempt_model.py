"""The books as they are stored: one row for every upstream call, written before it leaves, settled once, kept."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, PicoUsd, UtcDateTime


class LLMAttempt(Base):
    """An upstream call made for a row of a lane, under the fence that the row had.

    `outcome` null: under way. Prices are USD a token at the time of the call; a null count, price or cost is
    unknown, never 0. `reserved_usd`, the most that it may cost, counts as spent while the cost is unknown. The ids
    carry no foreign key: the books outlive what they were spent on.
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

    __table_args__ = (
        Index("ix_llm_attempts_item", "item_id"),
        Index(
            "ix_llm_attempts_open",
            "item_id",
            sqlite_where=text("outcome IS NULL"),
            postgresql_where=text("outcome IS NULL"),
        ),
    )
