"""Budgets, what was spent of them, alerts, and on each attempt what was reserved for it.

Revision ID: 012
Revises: 011
"""

import sqlalchemy as sa
from alembic import op

revision = "012"
down_revision = "011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = sa.JSON(none_as_null=True).with_variant(sa.dialects.postgresql.JSONB(none_as_null=True), "postgresql")
    op.add_column("llm_attempts", sa.Column("reserved_usd", sa.BigInteger))
    op.add_column("items", sa.Column("wait_code", sa.String(40)))
    op.create_table(
        "llm_budgets",
        sa.Column("id", sa.String(36), primary_key=True),
        *_whose(),
        sa.Column("limit_usd", sa.BigInteger, nullable=False),
        sa.Column("alert_percents", json, nullable=False, server_default=sa.text("'[]'")),
        sa.Column("is_hard", sa.Boolean, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("scope", "subject", "period"),
        sa.CheckConstraint("scope IN ('system', 'user', 'key')", name="scope"),
        sa.CheckConstraint("period IN ('hour', 'day', 'month')", name="period"),
        sa.CheckConstraint("limit_usd >= 0", name="limit"),
    )
    op.create_table(
        "llm_spend",
        sa.Column("key", sa.String(120), primary_key=True),
        *_whose(),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("spent_usd", sa.BigInteger, nullable=False),
        sa.Column("alerted_percent", sa.Integer, nullable=False, server_default=sa.text("0")),
    )
    op.create_table(
        "spending_alerts",
        sa.Column("id", sa.String(36), primary_key=True),
        *_whose(),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("percent", sa.Integer, nullable=False),
        sa.Column("spent_usd", sa.BigInteger, nullable=False),
        sa.Column("limit_usd", sa.BigInteger, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("not_before", sa.DateTime(timezone=True)),
        sa.Column("told_at", sa.DateTime(timezone=True)),
    )
    untold = sa.text("told_at IS NULL")
    op.create_index(
        "ix_spending_alerts_untold", "spending_alerts", ["at"], sqlite_where=untold, postgresql_where=untold
    )


def _whose() -> list[sa.Column[str]]:
    return [
        sa.Column("scope", sa.String(10), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("period", sa.String(10), nullable=False),
    ]


def downgrade() -> None:
    op.drop_table("spending_alerts")
    op.drop_table("llm_spend")
    op.drop_table("llm_budgets")
    op.drop_column("items", "wait_code")
    op.drop_column("llm_attempts", "reserved_usd")
