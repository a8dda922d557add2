"""The books tell what each call was made for, how fast it was, and what was saved.

Revision ID: 010
Revises: 009
"""

import sqlalchemy as sa
from alembic import op

revision = "010"
down_revision = "009"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("task", sa.String(40)),
    ("prompt_id", sa.String(100)),
    ("prompt_version", sa.Integer),
    ("api_key_id", sa.String(36)),
    ("reason", sa.String(200)),
    ("is_stream", sa.Boolean),
    ("cached_tokens", sa.Integer),
    ("cached_price_usd", sa.BigInteger),
    ("latency_ms", sa.Integer),
    ("first_token_ms", sa.Integer),
    ("saved_tokens", sa.Integer),
    ("saved_usd", sa.BigInteger),
    ("expires_at", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    for name, kind in _COLUMNS:
        op.add_column("llm_attempts", sa.Column(name, kind))
    still_open = sa.text("outcome IS NULL AND expires_at IS NOT NULL")
    op.create_index(
        "ix_llm_attempts_expiring",
        "llm_attempts",
        ["expires_at"],
        sqlite_where=still_open,
        postgresql_where=still_open,
    )


def downgrade() -> None:
    op.drop_index("ix_llm_attempts_expiring", "llm_attempts")
    for name, _ in reversed(_COLUMNS):
        op.drop_column("llm_attempts", name)
