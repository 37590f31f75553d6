"""Mail."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
phase = "expand"


def upgrade() -> None:
    """Mail."""
    op.create_table(
        "mail_messages",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("letter", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'sending', 'sent', 'bounced', 'kept')",
            name="mail_messages_state_check",
        ),
        sa.PrimaryKeyConstraint("site", "id", name="mail_messages_key"),
    )
    op.create_index(
        "mail_messages_at_id_index", "mail_messages", ["site", "at", "id"], unique=False
    )
    op.create_index(
        "mail_messages_state_id_index", "mail_messages", ["site", "state", "id"], unique=False
    )
    op.create_table(
        "mail_recipients",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("code", sa.BigInteger(), nullable=False),
        sa.Column("reply", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'sent', 'bounced', 'kept')", name="mail_recipients_state_check"
        ),
        sa.ForeignKeyConstraint(
            ["site", "message_id"],
            ["mail_messages.site", "mail_messages.id"],
            name="mail_recipients_message_id_foreign",
        ),
        sa.PrimaryKeyConstraint("site", "message_id", "address", name="mail_recipients_key"),
    )
    op.create_index(
        "mail_recipients_address_message_id_index",
        "mail_recipients",
        ["site", "address", "message_id"],
        unique=False,
    )
