"""Indexes by age, so that a sweep finds what is old without reading what is not.

Revision ID: 017
Revises: 016
"""

import sqlalchemy as sa
from alembic import op

revision = "017"
down_revision = "016"
branch_labels = None
depends_on = None

_INDEXES = (
    ("ix_items_discarded", "items", "updated_at", "status = 'DISCARDED'"),
    ("ix_item_events_at", "item_events", "at", None),
    ("ix_idempotency_keys_created_at", "idempotency_keys", "created_at", None),
    ("ix_idempotency_keys_item_id", "idempotency_keys", "item_id", None),
    ("ix_queries_ended", "queries", "updated_at", "status <> 'RUNNING'"),
    ("ix_llm_spend_period_start", "llm_spend", "period_start", None),
    ("ix_quota_counts_day_start", "quota_counts", "day_start", None),
    ("ix_spending_alerts_told_at", "spending_alerts", "told_at", None),
)


def upgrade() -> None:
    for name, table, column, condition in _INDEXES:
        where = None if condition is None else sa.text(condition)
        op.create_index(name, table, [column], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    for name, table, _, _ in reversed(_INDEXES):
        op.drop_index(name, table)
