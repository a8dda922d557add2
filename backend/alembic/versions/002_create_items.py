"""Items: the captured text, its proposal, its status, and the columns by which the worker works it.

Revision ID: 002
Revises: 001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "002"
down_revision = "001"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_WORKING = "status = 'ENRICHING'"
_INDEXES = {
    "ready": (["rank", "created_at", "id"], f"{_WORKING} AND lease_owner IS NULL AND not_before IS NULL"),
    "waiting": (["not_before"], f"{_WORKING} AND lease_owner IS NULL AND not_before IS NOT NULL"),
    "user_rank": (["user_id", "rank"], _WORKING),
    "leased": (["lease_until"], f"{_WORKING} AND lease_owner IS NOT NULL"),
    "pending": (["user_id", "created_at", "id"], "status IN ('ENRICHING', 'READY_TO_CONFIRM', 'FAILED')"),
    "library": (["user_id", "confirmed_at", "id"], "status = 'ARCHIVED'"),
}


def upgrade() -> None:
    op.create_table(
        "items",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("user_id", sa.String(36), sa.ForeignKey("users.id"), nullable=False),
        sa.Column("raw_text", sa.Text, nullable=False),
        sa.Column("text_hash", sa.String(64), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("title", sa.String(100)),
        sa.Column("summary", sa.String(500)),
        sa.Column("source_type", sa.String(10)),
        sa.Column("enrichment_mode", sa.String(10), nullable=False),
        sa.Column("suggestions", _JSON, nullable=False, server_default=sa.text("'[]'")),
        sa.Column("enrichment", _JSON),
        sa.Column("search_text", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True)),
        sa.Column("claim_seq", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("lease_owner", sa.String(36)),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("not_before", sa.DateTime(timezone=True)),
        sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("deaths", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("rank", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.CheckConstraint(
            "status IN ('ENRICHING', 'READY_TO_CONFIRM', 'FAILED', 'ARCHIVED', 'DISCARDED')", name="ck_items_status"
        ),
        sa.CheckConstraint("enrichment_mode IN ('AI', 'MANUAL')", name="ck_items_mode"),
        sa.CheckConstraint("(lease_owner IS NULL) = (lease_until IS NULL)", name="ck_items_lease"),
    )
    for name, (columns, condition) in _INDEXES.items():
        where = sa.text(condition)
        op.create_index(f"ix_items_{name}", "items", columns, sqlite_where=where, postgresql_where=where)
    if op.get_bind().dialect.name == "postgresql":
        # Every item is updated several times within seconds: room on its page, and dead rows gone early.
        op.execute(
            "ALTER TABLE items SET (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02,"
            " autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.02)"
        )


def downgrade() -> None:
    op.drop_table("items")
