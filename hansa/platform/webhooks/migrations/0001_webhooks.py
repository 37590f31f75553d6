"""Webhooks."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
phase = "expand"


def upgrade() -> None:
    """Webhooks."""
    op.create_table(
        "webhooks_attempts",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=False),
        sa.Column("ms", sa.BigInteger(), nullable=False),
        sa.Column("excerpt", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "site", "endpoint_id", "number", "attempt", name="webhooks_attempts_key"
        ),
    )
    op.create_table(
        "webhooks_counters",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "name", name="webhooks_counters_key"),
    )
    op.create_table(
        "webhooks_endpoints",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("events", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("keys", sa.LargeBinary(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("scheme IN ('v1', 'v1a')", name="webhooks_endpoints_scheme_check"),
        sa.CheckConstraint(
            "state IN ('active', 'paused', 'disabled', 'removed')",
            name="webhooks_endpoints_state_check",
        ),
        sa.PrimaryKeyConstraint("site", "id", name="webhooks_endpoints_key"),
    )
    op.create_table(
        "webhooks_messages",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("site", "number", name="webhooks_messages_key"),
        sa.UniqueConstraint("site", "id", name="webhooks_messages_id_unique"),
    )
    op.create_index(
        "webhooks_messages_at_number_index",
        "webhooks_messages",
        ["site", "at", "number"],
        unique=False,
    )
    op.create_table(
        "webhooks_deliveries",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("lane", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('queued', 'waiting', 'sending', 'delivered', 'failed', 'skipped')",
            name="webhooks_deliveries_state_check",
        ),
        sa.ForeignKeyConstraint(
            ["site", "endpoint_id"],
            ["webhooks_endpoints.site", "webhooks_endpoints.id"],
            name="webhooks_deliveries_endpoint_id_foreign",
        ),
        sa.ForeignKeyConstraint(
            ["site", "number"],
            ["webhooks_messages.site", "webhooks_messages.number"],
            name="webhooks_deliveries_number_foreign",
        ),
        sa.PrimaryKeyConstraint("site", "endpoint_id", "number", name="webhooks_deliveries_key"),
    )
    op.create_index(
        "webhooks_deliveries_endpoint_id_lane_state_next_at_index",
        "webhooks_deliveries",
        ["site", "endpoint_id", "lane", "state", "next_at"],
        unique=False,
    )
    op.create_index(
        "webhooks_deliveries_endpoint_id_object_state_number_index",
        "webhooks_deliveries",
        ["site", "endpoint_id", "object", "state", "number"],
        unique=False,
    )
    op.create_index(
        "webhooks_deliveries_number_endpoint_id_index",
        "webhooks_deliveries",
        ["site", "number", "endpoint_id"],
        unique=False,
    )
