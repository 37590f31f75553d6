"""The receipts of a site stand together, so that they are moved and erased as one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
phase = "contract"

BEFORE = sa.Table(
    "hansa_receipts",
    sa.MetaData(),
    sa.Column("subscriber", sa.Text(), nullable=False),
    sa.Column("event", sa.Text(), nullable=False),
    sa.Column("site", sa.Text(), nullable=False),
    sa.Column("at_us", sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint("subscriber", "event", name="hansa_receipts_pkey"),
    sa.Index("hansa_receipts_age", "at_us"),
    sqlite_with_rowid=False,
)


def upgrade() -> None:
    """Put the site first in their key; both releases write them the same."""
    with op.batch_alter_table("hansa_receipts", copy_from=BEFORE) as batch:
        batch.drop_constraint("hansa_receipts_pkey", type_="primary")
        batch.create_primary_key("hansa_receipts_pkey", ["site", "subscriber", "event"])
