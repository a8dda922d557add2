"""Chats under way, counted where there is a quota.

Revision ID: 018
Revises: 017
"""

import sqlalchemy as sa
from alembic import op

revision = "018"
down_revision = "017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "live_chats",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("user_id", sa.String(36), sa.ForeignKey("users.id"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_live_chats_user_id", "live_chats", ["user_id"])
    op.create_index("ix_live_chats_expires_at", "live_chats", ["expires_at"])


def downgrade() -> None:
    op.drop_table("live_chats")
