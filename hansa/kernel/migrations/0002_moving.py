"""What a site is in this cell, deliveries edited by hand, proofs of the master key."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
phase = "expand"

STATES = "state IN ('here', 'moving', 'gone', 'coming', 'going', 'erased')"


def upgrade() -> None:
    """Make room for it. What was there before goes on as it did."""
    op.create_table(
        "hansa_sites",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("followed", sa.Text(), nullable=False, server_default=sa.text("'{}'")),
        sa.PrimaryKeyConstraint("site"),
        sa.CheckConstraint(STATES, name="hansa_sites_state"),
    )
    op.create_table(
        "hansa_proof",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    # Edited by hand, in place of what the log has.
    op.add_column("hansa_deliveries", sa.Column("data", sa.LargeBinary()))
    op.drop_index("hansa_due_ready", "hansa_due")
    op.create_index("hansa_due_ready", "hansa_due", ["state", "ready_at_us", "site", "id"])
