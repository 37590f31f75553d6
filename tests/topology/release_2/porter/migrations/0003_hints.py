"""Nobody gives hints any more."""

from alembic import op

revision = "0003"
down_revision = "0002"
phase = "contract"


def upgrade() -> None:
    """Take away what only the first release wrote."""
    op.drop_column("porter_lanes", "hint")
