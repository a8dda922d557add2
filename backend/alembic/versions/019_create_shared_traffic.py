"""Closed gates, and what each process holds of a provider's limits a minute.

Revision ID: 019
Revises: 018
"""

import sqlalchemy as sa
from alembic import op

revision = "019"
down_revision = "018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "llm_gates",
        sa.Column("scope", sa.String(64), primary_key=True),
        sa.Column("provider", sa.String(100), nullable=False),
        sa.Column("code", sa.String(40), nullable=False),
        sa.Column("http_status", sa.Integer),
        sa.Column("wait_seconds", sa.Float, nullable=False),
        sa.Column("opens_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("probe_owner", sa.String(36)),
        sa.Column("probe_until", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "llm_shares",
        sa.Column("provider", sa.String(100), primary_key=True),
        sa.Column("process_id", sa.String(36), primary_key=True),
        sa.Column("unit", sa.String(10), primary_key=True),
        sa.Column("share", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("waiting", sa.BigInteger, nullable=False),
        sa.Column("head", sa.BigInteger, nullable=False),
        sa.Column("waiting_since", sa.DateTime(timezone=True)),
        sa.Column("last_waiting_since", sa.DateTime(timezone=True)),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_llm_gates_opens_at", "llm_gates", ["opens_at"])
    op.create_index("ix_llm_shares_valid_until", "llm_shares", ["valid_until"])


def downgrade() -> None:
    op.drop_table("llm_shares")
    op.drop_table("llm_gates")
