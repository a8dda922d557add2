"""Queries: what was asked of a model, the answer, and the columns by which the worker works it.

Revision ID: 014
Revises: 013
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "014"
down_revision = "013"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_WORKING = "status = 'RUNNING'"
_INDEXES = {
    "ready": (["rank", "created_at", "id"], f"{_WORKING} AND lease_owner IS NULL AND not_before IS NULL"),
    "waiting": (["not_before"], f"{_WORKING} AND lease_owner IS NULL AND not_before IS NOT NULL"),
    "user_rank": (["user_id", "rank"], _WORKING),
    "leased": (["lease_until"], f"{_WORKING} AND lease_owner IS NOT NULL"),
}


def upgrade() -> None:
    op.create_table(
        "queries",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("user_id", sa.String(36), sa.ForeignKey("users.id"), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("request", _JSON, nullable=False),
        sa.Column("answer", _JSON),
        sa.Column("receipt", _JSON),
        sa.Column("query_error", sa.String(500)),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("body_hash", sa.String(64)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claim_seq", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("lease_owner", sa.String(36)),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("not_before", sa.DateTime(timezone=True)),
        sa.Column("wait_code", sa.String(40)),
        sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("deaths", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("rank", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.CheckConstraint("status IN ('RUNNING', 'DONE', 'FAILED', 'CANCELLED')", name="ck_queries_status"),
        sa.CheckConstraint("(lease_owner IS NULL) = (lease_until IS NULL)", name="ck_queries_lease"),
        sa.UniqueConstraint("user_id", "idempotency_key", name="uq_queries_user_id"),
    )
    for name, (columns, condition) in _INDEXES.items():
        where = sa.text(condition)
        op.create_index(f"ix_queries_{name}", "queries", columns, sqlite_where=where, postgresql_where=where)
    if op.get_bind().dialect.name == "postgresql":
        # Every query is updated several times within seconds: room on its page, and dead rows gone early.
        op.execute(
            "ALTER TABLE queries SET (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02,"
            " autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.02)"
        )


def downgrade() -> None:
    op.drop_table("queries")
