"""A lane has a weight."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
phase = "expand"


def upgrade() -> None:
    """Make room for it; who does not know of it writes none."""
    op.add_column(
        "porter_lanes", sa.Column("weight_g", sa.BigInteger(), nullable=False, server_default="0")
    )
