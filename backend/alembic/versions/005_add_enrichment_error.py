"""Why an item failed: its code and our sentence, never a vendor's text.

Revision ID: 005
Revises: 004
"""

import sqlalchemy as sa
from alembic import op

revision = "005"
down_revision = "004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("items", sa.Column("enrichment_error", sa.String(500)))


def downgrade() -> None:
    op.drop_column("items", "enrichment_error")
