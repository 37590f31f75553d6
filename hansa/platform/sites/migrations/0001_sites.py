"""Sites, their hosts, keys and settings."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
phase = "expand"


def upgrade() -> None:
    """Sites, their hosts, keys and settings."""
    op.create_table(
        "sites_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="sites_keys_key"),
    )
    op.create_index("sites_keys_site_id_id_index", "sites_keys", ["site_id", "id"], unique=False)
    op.create_table(
        "sites_sites",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("test_clock", sa.Boolean(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('active', 'suspended', 'closed')", name="sites_sites_state_check"
        ),
        sa.PrimaryKeyConstraint("id", name="sites_sites_key"),
    )
    op.create_index("sites_sites_zone_id_index", "sites_sites", ["zone", "id"], unique=False)
    op.create_table(
        "sites_hosts",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites_sites.id"], name="sites_hosts_site_id_foreign"
        ),
        sa.PrimaryKeyConstraint("host", name="sites_hosts_key"),
    )
    op.create_index(
        "sites_hosts_site_id_host_index", "sites_hosts", ["site_id", "host"], unique=False
    )
    op.create_table(
        "sites_settings",
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("is_sealed", sa.Boolean(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites_sites.id"], name="sites_settings_site_id_foreign"
        ),
        sa.PrimaryKeyConstraint("site_id", "name", name="sites_settings_key"),
    )
