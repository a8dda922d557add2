"""Providers of models that an admin registers, with their sealed credentials.

Revision ID: 008
Revises: 007
"""

import sqlalchemy as sa
from alembic import op

revision = "008"
down_revision = "007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = sa.JSON(none_as_null=True).with_variant(sa.dialects.postgresql.JSONB(none_as_null=True), "postgresql")
    op.create_table(
        "llm_providers",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(50), nullable=False, unique=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("base_url", sa.String(500)),
        sa.Column("sealed_key", sa.Text),
        sa.Column("key_changed_at", sa.DateTime(timezone=True)),
        sa.Column("is_local", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("is_enabled", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("tokens_per_minute", sa.Integer),
        sa.Column("max_concurrency", sa.Integer),
        sa.Column("health_check", sa.String(20), nullable=False, server_default="models"),
        sa.Column("models", json, nullable=False, server_default=sa.text("'[]'")),
        sa.Column("version", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('openai', 'anthropic', 'openai_compatible')", name="kind"),
        sa.CheckConstraint("(sealed_key IS NULL) = (key_changed_at IS NULL)", name="key"),
    )


def downgrade() -> None:
    op.drop_table("llm_providers")
