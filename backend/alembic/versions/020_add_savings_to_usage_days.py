"""Summaries tell what answers from before have saved.

Revision ID: 020
Revises: 019
"""

import sqlalchemy as sa
from alembic import op

revision = "020"
down_revision = "019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("saved_tokens", "saved_usd"):
        column = sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0"))
        op.add_column("llm_usage_days", column)


def downgrade() -> None:
    for name in ("saved_usd", "saved_tokens"):
        op.drop_column("llm_usage_days", name)
