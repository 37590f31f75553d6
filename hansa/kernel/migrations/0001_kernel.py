"""The first tables of a cell: the log, due work, keys, attempts, relations, clocks, the cell."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
phase = "expand"


def text(name: str, nullable: bool = False, default: str | None = None) -> sa.Column[str]:
    """A column of text."""
    return sa.Column(
        name, sa.Text(), nullable=nullable, server_default=default and sa.text(default)
    )


def number(name: str, nullable: bool = False, default: str | None = None) -> sa.Column[int]:
    """A column of 64 bits."""
    return sa.Column(
        name, sa.BigInteger(), nullable=nullable, server_default=default and sa.text(default)
    )


def data(name: str) -> sa.Column[bytes]:
    """A column of bytes: JSON, or sealed."""
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def upgrade() -> None:
    """Make them."""
    log()
    subscribing()
    due_work()
    keys_and_attempts()
    site_facts()
    cell_facts()


def log() -> None:
    """On SQLite the key is the position itself: one writer inserts in the order of commit."""
    on_sqlite = op.get_context().dialect.name == "sqlite"
    if on_sqlite:
        head: list[sa.Column[Any] | sa.Constraint] = [
            sa.Column("position", sa.Integer(), primary_key=True, autoincrement=True)
        ]
    else:
        head = [
            sa.Column("row", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
            number("position", nullable=True),
            sa.UniqueConstraint("position"),
        ]
    op.create_table(
        "hansa_events",
        *head,
        text("id"),
        text("site"),
        number("slot"),
        number("epoch"),
        text("aggregate"),
        number("seq"),
        text("type"),
        number("version"),
        number("at_us"),
        number("recorded_at_us"),
        text("trace"),
        text("cause"),
        text("principal"),
        data("data"),
        sa.UniqueConstraint("site", "aggregate", "seq", name="hansa_events_aggregate"),
        sqlite_autoincrement=True,
    )
    op.create_index("hansa_events_slot", "hansa_events", ["slot", "position"])
    if not on_sqlite:
        unplaced = sa.text("position IS NULL")
        op.create_index("hansa_events_new", "hansa_events", ["row"], postgresql_where=unplaced)
    op.create_table(
        "hansa_aggregates",
        text("site"),
        text("aggregate"),
        number("seq"),
        sa.PrimaryKeyConstraint("site", "aggregate"),
        sqlite_with_rowid=False,
    )


def subscribing() -> None:
    """Where each subscriber is, what it has done, and what failed."""
    op.create_table(
        "hansa_cursors",
        text("subscriber"),
        number("slot"),
        number("epoch"),
        number("position"),
        sa.PrimaryKeyConstraint("subscriber", "slot"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "hansa_subscribers",
        text("subscriber"),
        number("floor"),
        number("seen_at_us"),
        sa.PrimaryKeyConstraint("subscriber"),
    )
    op.create_table(
        "hansa_receipts",
        text("subscriber"),
        text("event"),
        text("site"),
        number("at_us"),
        sa.PrimaryKeyConstraint("subscriber", "event"),
        sqlite_with_rowid=False,
    )
    op.create_index("hansa_receipts_age", "hansa_receipts", ["at_us"])
    op.create_table(
        "hansa_deliveries",
        text("subscriber"),
        text("event"),
        text("site"),
        text("aggregate"),
        number("position"),
        text("state"),
        number("attempt"),
        number("ready_at_us"),
        text("error"),
        text("trace"),
        number("failed_at_us"),
        sa.PrimaryKeyConstraint("subscriber", "event"),
        sa.CheckConstraint(
            "state IN ('waiting', 'queued', 'parked', 'skipped')", name="hansa_deliveries_state"
        ),
    )
    op.create_index(
        "hansa_deliveries_aggregate",
        "hansa_deliveries",
        ["subscriber", "site", "aggregate", "position"],
    )
    op.create_index("hansa_deliveries_ready", "hansa_deliveries", ["state", "ready_at_us"])
    op.create_index("hansa_deliveries_position", "hansa_deliveries", ["position"])


def due_work() -> None:
    """Timers, retries and calls to the world."""
    op.create_table(
        "hansa_due",
        text("id"),
        text("site"),
        text("name"),
        number("version"),
        data("arguments"),
        number("run_at_us"),
        number("ready_at_us", nullable=True),
        text("state"),
        number("attempt", default="0"),
        text("holder"),
        number("lease_until_us", default="0"),
        text("error"),
        text("principal"),
        text("trace"),
        sa.PrimaryKeyConstraint("site", "id"),
        sa.CheckConstraint("state IN ('waiting', 'parked')", name="hansa_due_state"),
    )
    op.create_index("hansa_due_ready", "hansa_due", ["state", "ready_at_us"])
    op.create_index("hansa_due_clock", "hansa_due", ["site", "run_at_us", "id"])


def keys_and_attempts() -> None:
    """Idempotency keys with their answers, and what actions asked the world."""
    op.create_table(
        "hansa_keys",
        text("site"),
        text("digest"),
        text("request"),
        number("status"),
        data("answer"),
        number("sealed"),
        text("attempt"),
        number("created_at_us"),
        sa.PrimaryKeyConstraint("site", "digest"),
    )
    op.create_index("hansa_keys_age", "hansa_keys", ["created_at_us"])
    op.create_table(
        "hansa_attempts",
        text("site"),
        text("id"),
        text("action"),
        number("version"),
        data("request"),
        number("sealed"),
        text("digest"),
        text("principal"),
        text("trace"),
        number("status"),
        data("answer"),
        number("created_at_us"),
        sa.PrimaryKeyConstraint("site", "id"),
    )
    op.create_index("hansa_attempts_age", "hansa_attempts", ["created_at_us"])


def site_facts() -> None:
    """Who is related to what, and the clocks of test sites."""
    op.create_table(
        "hansa_relations",
        text("site"),
        text("object"),
        text("relation"),
        text("subject"),
        sa.PrimaryKeyConstraint("site", "object", "relation", "subject"),
    )
    op.create_index("hansa_relations_subject", "hansa_relations", ["site", "subject", "relation"])
    op.create_table(
        "hansa_clocks",
        text("site"),
        number("now_us"),
        number("target_us"),
        number("ticked_us"),
        text("holder", default="''"),
        number("lease_until_us", default="0"),
        sa.PrimaryKeyConstraint("site"),
    )


def cell_facts() -> None:
    """The ticks of the schedules, and the cell itself."""
    op.create_table(
        "hansa_ticks",
        text("schedule"),
        text("zone"),
        number("tick_us"),
        text("after_site"),
        sa.PrimaryKeyConstraint("schedule", "zone"),
    )
    op.create_table(
        "hansa_cell",
        text("cell"),
        number("epoch"),
        number("position"),
        sa.PrimaryKeyConstraint("cell"),
    )
