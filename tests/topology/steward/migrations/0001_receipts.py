"""Receipts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
phase = "expand"


def upgrade() -> None:
    """Receipts."""
    op.create_table(
        "steward_receipts",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "order_id", name="steward_receipts_key"),
    )
    op.create_table(
        "steward_diary",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "what", "at", name="steward_diary_key"),
    )
