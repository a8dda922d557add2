"""Summaries, by day, of what is folded away of the books; which channels were told of an alert.

Revision ID: 013
Revises: 012
"""

import sqlalchemy as sa
from alembic import op

revision = "013"
down_revision = "012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sums = ("calls", "cached", "cost_usd", "unknown_costs", "input_tokens", "output_tokens", "unknown_tokens")
    op.create_table(
        "llm_usage_days",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("api_key_id", sa.String(36)),
        sa.Column("provider", sa.String(50), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("task", sa.String(40)),
        sa.Column("prompt_id", sa.String(100)),
        sa.Column("prompt_version", sa.Integer),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in sums),
    )
    op.create_index("ix_llm_usage_days_day", "llm_usage_days", ["day"])
    json = sa.JSON(none_as_null=True).with_variant(sa.dialects.postgresql.JSONB(none_as_null=True), "postgresql")
    told = sa.Column("told_channels", json, nullable=False, server_default=sa.text("'[]'"))
    op.add_column("spending_alerts", told)


def downgrade() -> None:
    op.drop_column("spending_alerts", "told_channels")
    op.drop_table("llm_usage_days")
