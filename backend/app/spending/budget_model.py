"""Budgets, what was spent of them, and the alerts that are on their way, as they are stored."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, Integer, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import utc_now
from app.database import Base, JsonColumn, PicoUsd, UtcDateTime, new_id
from app.spending.budget import Period, Scope


class LLMBudget(Base):
    """See `budget.Budget`."""

    __tablename__ = "llm_budgets"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    scope: Mapped[str] = mapped_column(String(10))
    subject: Mapped[str] = mapped_column(String(64))
    period: Mapped[str] = mapped_column(String(10))
    limit_usd: Mapped[Decimal] = mapped_column(PicoUsd)
    alert_percents: Mapped[list[int]] = mapped_column(JsonColumn, default=list, server_default=text("'[]'"))
    is_hard: Mapped[bool] = mapped_column(Boolean)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    __table_args__ = (
        UniqueConstraint("scope", "subject", "period"),
        CheckConstraint(f"scope IN ({', '.join(repr(str(scope)) for scope in Scope)})", name="scope"),
        CheckConstraint(f"period IN ({', '.join(repr(str(period)) for period in Period)})", name="period"),
        CheckConstraint("limit_usd >= 0", name="limit"),
    )


class LLMSpend(Base):
    """What a subject has spent in a period: the sum over the ledger, reservations included. No row is 0.

    Kept only while a budget asks for it. `alerted_percent` is the highest threshold that was told of.
    """

    __tablename__ = "llm_spend"

    key: Mapped[str] = mapped_column(String(120), primary_key=True)
    scope: Mapped[str] = mapped_column(String(10))
    subject: Mapped[str] = mapped_column(String(64))
    period: Mapped[str] = mapped_column(String(10))
    period_start: Mapped[datetime] = mapped_column(UtcDateTime)
    spent_usd: Mapped[Decimal] = mapped_column(PicoUsd)
    alerted_percent: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))

    __table_args__ = (Index("ix_llm_spend_period_start", "period_start"),)


class SpendingAlert(Base):
    """A threshold that was crossed, written in the transaction that crossed it; kept until it was told.

    `told_channels` are the places, in the setting, of those that have it; the others are tried again.
    """

    __tablename__ = "spending_alerts"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    scope: Mapped[str] = mapped_column(String(10))
    subject: Mapped[str] = mapped_column(String(64))
    period: Mapped[str] = mapped_column(String(10))
    period_start: Mapped[datetime] = mapped_column(UtcDateTime)
    percent: Mapped[int] = mapped_column(Integer)
    spent_usd: Mapped[Decimal] = mapped_column(PicoUsd)
    limit_usd: Mapped[Decimal] = mapped_column(PicoUsd)
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    tries: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    not_before: Mapped[datetime | None] = mapped_column(UtcDateTime)
    told_channels: Mapped[list[int]] = mapped_column(JsonColumn, default=list, server_default=text("'[]'"))
    told_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index("ix_spending_alerts_told_at", "told_at"),
        Index(
            "ix_spending_alerts_untold",
            "at",
            sqlite_where=text("told_at IS NULL"),
            postgresql_where=text("told_at IS NULL"),
        ),
    )


class LLMUsageDay(Base):
    """What was folded away of the ledger: sums of a day's attempts that have all of this in common.

    There may be several for the same: each was folded in one step.
    """

    __tablename__ = "llm_usage_days"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    day: Mapped[str] = mapped_column(String(10))
    user_id: Mapped[str] = mapped_column(String(36))
    api_key_id: Mapped[str | None] = mapped_column(String(36))
    provider: Mapped[str] = mapped_column(String(50))
    model: Mapped[str] = mapped_column(String(200))
    task: Mapped[str | None] = mapped_column(String(40))
    prompt_id: Mapped[str | None] = mapped_column(String(100))
    prompt_version: Mapped[int | None] = mapped_column(Integer)
    calls: Mapped[int] = mapped_column(BigInteger)
    cached: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[Decimal] = mapped_column(PicoUsd)
    unknown_costs: Mapped[int] = mapped_column(BigInteger)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    unknown_tokens: Mapped[int] = mapped_column(BigInteger)
    saved_tokens: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    saved_usd: Mapped[Decimal] = mapped_column(PicoUsd, server_default=text("0"))

    __table_args__ = (Index("ix_llm_usage_days_day", "day"),)
