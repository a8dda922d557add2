"""Whom an item's text may be shown to, and a person's default for it.

Revision ID: 016
Revises: 015
"""

from alembic import op

revision = "016"
down_revision = "015"
branch_labels = None
depends_on = None

_VALUES = "'any', 'local_only', 'none'"


def upgrade() -> None:
    # By hand: the check belongs to the column, so that SQLite can take both on and off without copying the table.
    for table, column in (("items", "privacy"), ("users", "default_privacy")):
        op.execute(
            f"ALTER TABLE {table} ADD COLUMN {column} VARCHAR(10) DEFAULT 'any' NOT NULL"
            f" CONSTRAINT ck_{table}_{column} CHECK ({column} IN ({_VALUES}))"
        )


def downgrade() -> None:
    op.drop_column("users", "default_privacy")
    op.drop_column("items", "privacy")
