"""A site knows its cell, and whether it moves."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
phase = "expand"


def upgrade() -> None:
    """Make room for it; a site from before is where it always was."""
    for name in ("cell", "move_cell"):
        column = sa.Column(name, sa.Text(), nullable=False, server_default="")
        op.add_column("sites_sites", column)
    # Written out: Alembic adds no column with a constraint on SQLite.
    op.execute(
        "ALTER TABLE sites_sites ADD COLUMN move TEXT DEFAULT 'none' NOT NULL"
        " CONSTRAINT sites_sites_move_check CHECK (move IN ('none', 'to', 'from'))"
    )
