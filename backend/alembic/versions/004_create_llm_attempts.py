"""The books: one row for every upstream call.

Revision ID: 004
Revises: 003
"""

import sqlalchemy as sa
from alembic import op

revision = "004"
down_revision = "003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "llm_attempts",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("lane", sa.String(20), nullable=False),
        sa.Column("item_id", sa.String(36), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("claim_seq", sa.BigInteger, nullable=False),
        sa.Column("provider", sa.String(50), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("outcome", sa.String(10)),
        sa.Column("error_code", sa.String(40)),
        sa.Column("input_tokens", sa.Integer),
        sa.Column("output_tokens", sa.Integer),
        sa.Column("input_price_usd", sa.BigInteger),
        sa.Column("output_price_usd", sa.BigInteger),
        sa.Column("cost_usd", sa.BigInteger),
    )
    op.create_index("ix_llm_attempts_item", "llm_attempts", ["item_id"])
    still_open = sa.text("outcome IS NULL")
    op.create_index(
        "ix_llm_attempts_open", "llm_attempts", ["item_id"], sqlite_where=still_open, postgresql_where=still_open
    )


def downgrade() -> None:
    op.drop_table("llm_attempts")
