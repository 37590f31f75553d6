"""The kernel's own tables in every cell: the log, due work, keys, attempts, relations, clocks.

They are written in SQL text by the modules named beside them, never through `ctx.db`. Instants are
microseconds since 1970 in UTC; `*_at_us` of the machine's clock unless said otherwise.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()
"""The kernel's tables that are the same on both engines: all but the log (see `all_tables`)."""


def _text(name: str, nullable: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=nullable, server_default=default and text(default))


def _int(name: str, nullable: bool = False, default: str | None = None) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable, server_default=default and text(default))


def _table(
    name: str,
    *parts: Column[int] | Column[str] | Column[bytes] | object,
    scope: str,
    clustered: bool = False,
) -> Table:
    """`clustered`: on SQLite the rows lie in the tree of the key, one page to write, not two."""
    info = {"service": "kernel", "scope": scope}
    return Table(name, metadata, *parts, info=info, sqlite_with_rowid=not clustered)  # type: ignore[arg-type]


def events_table(dialect: str, into: MetaData) -> Table:
    """Return `hansa_events` as it is on `dialect` (module log).

    On SQLite its position is itself the key, an AUTOINCREMENT, because one writer's order of
    insertion is its order of commit; there is no `row`.
    """
    if dialect == "sqlite":
        head: tuple[Column[int], ...] = (
            Column("position", Integer, primary_key=True, autoincrement=True),
        )
        last: tuple[Index, ...] = (Index("hansa_events_slot", "slot", "position"),)
    else:
        head = (
            Column("row", BigInteger, Identity(always=True), primary_key=True),
            Column("position", BigInteger, nullable=True, unique=True),
        )
        last = (  # SQLAlchemy's PostgreSQL, 3 MB, is imported with the second one
            Index("hansa_events_slot", "slot", "position"),
            Index("hansa_events_new", "row", postgresql_where=text("position IS NULL")),
        )
    return Table(
        "hansa_events",
        into,
        *head,
        _text("id"),
        _text("site"),
        _int("slot"),
        _int("epoch"),
        _text("aggregate"),
        _int("seq"),
        _text("type"),
        _int("version"),
        _int("at_us"),  # the site's clock
        _int("recorded_at_us"),
        _text("trace"),
        _text("cause"),  # the operation, subscriber or due work that emitted it
        _text("principal"),
        Column("data", LargeBinary, nullable=False),  # JSON
        UniqueConstraint("site", "aggregate", "seq", name="hansa_events_aggregate"),
        *last,
        sqlite_autoincrement=True,
        info={"service": "kernel", "scope": "site"},
    )


def all_tables(dialect: str) -> list[Table]:
    """Return the kernel's tables as they are on `dialect`, by name."""
    found = [events_table(dialect, MetaData()), *metadata.tables.values()]
    return sorted(found, key=lambda table: table.name)


aggregates = _table(
    "hansa_aggregates",  # also of copies that are gone: module watermarks
    _text("site"),
    _text("aggregate"),
    _int("seq"),
    PrimaryKeyConstraint("site", "aggregate"),
    scope="site",
    clustered=True,
)

cursors = _table(
    "hansa_cursors",
    _text("subscriber"),
    _int("slot"),
    _int("epoch"),
    _int("position"),
    PrimaryKeyConstraint("subscriber", "slot"),
    scope="cell",
    clustered=True,
)

subscribers = _table(
    "hansa_subscribers",
    _text("subscriber"),
    _int("floor"),  # every slot's cursor is at least here, or has nothing before it
    _int("seen_at_us"),  # when a process last had it
    PrimaryKeyConstraint("subscriber"),
    scope="cell",
)

receipts = _table(
    "hansa_receipts",
    _text("subscriber"),
    _text("event"),
    _text("site"),
    _int("at_us"),
    PrimaryKeyConstraint("site", "subscriber", "event"),
    Index("hansa_receipts_age", "at_us"),
    scope="site",
    clustered=True,
)

deliveries = _table(
    "hansa_deliveries",
    _text("subscriber"),
    _text("event"),
    _text("site"),
    _text("aggregate"),
    _int("position"),
    _text("state"),  # waiting | queued | parked | skipped
    _int("attempt"),
    _int("ready_at_us"),
    _text("error"),
    _text("trace"),
    _int("failed_at_us"),
    Column("data", LargeBinary),  # edited by hand, in place of what the log has
    PrimaryKeyConstraint("subscriber", "event"),
    CheckConstraint(
        "state IN ('waiting', 'queued', 'parked', 'skipped')", name="hansa_deliveries_state"
    ),
    Index("hansa_deliveries_aggregate", "subscriber", "site", "aggregate", "position"),
    Index("hansa_deliveries_ready", "state", "ready_at_us"),
    Index("hansa_deliveries_position", "position"),
    scope="site",
)

due = _table(
    "hansa_due",
    _text("id"),
    _text("site"),
    _text("name"),
    _int("version"),
    Column("arguments", LargeBinary, nullable=False),  # JSON
    _int("run_at_us"),  # the site's clock
    _int("ready_at_us", nullable=True),  # the machine's; null while it waits for a test clock
    _text("state"),  # waiting | parked
    _int("attempt", default="0"),
    _text("holder"),
    _int("lease_until_us", default="0"),
    _text("error"),
    _text("principal"),
    _text("trace"),
    PrimaryKeyConstraint("site", "id"),
    CheckConstraint("state IN ('waiting', 'parked')", name="hansa_due_state"),
    Index("hansa_due_ready", "state", "ready_at_us", "site", "id"),
    Index("hansa_due_clock", "site", "run_at_us", "id"),
    scope="site",
)

keys = _table(
    "hansa_keys",
    _text("site"),
    _text("digest"),
    _text("request"),
    _int("status"),  # 0 while an action's attempt is open
    Column("answer", LargeBinary, nullable=False),
    _int("sealed"),
    _text("attempt"),
    _int("created_at_us"),
    PrimaryKeyConstraint("site", "digest"),
    Index("hansa_keys_age", "created_at_us"),
    scope="site",
)

attempts = _table(
    "hansa_attempts",
    _text("site"),
    _text("id"),
    _text("action"),
    _int("version"),
    Column("request", LargeBinary, nullable=False),
    _int("sealed"),
    _text("digest"),  # of its key in hansa_keys, or empty
    _text("principal"),
    _text("trace"),
    _int("status"),  # 0 while open
    Column("answer", LargeBinary, nullable=False),
    _int("created_at_us"),
    PrimaryKeyConstraint("site", "id"),
    Index("hansa_attempts_age", "created_at_us"),
    scope="site",
)

relations = _table(
    "hansa_relations",
    _text("site"),
    _text("object"),
    _text("relation"),
    _text("subject"),
    PrimaryKeyConstraint("site", "object", "relation", "subject"),
    Index("hansa_relations_subject", "site", "subject", "relation"),
    scope="site",
)

clocks = _table(
    "hansa_clocks",
    _text("site"),
    _int("now_us"),
    _int("target_us"),  # equals now_us when the clock stands
    _int("ticked_us"),  # every schedule has run up to here
    _text("holder", default="''"),  # the process that moves it
    _int("lease_until_us", default="0"),
    PrimaryKeyConstraint("site"),
    scope="site",
)

ticks = _table(
    "hansa_ticks",
    _text("schedule"),
    _text("zone"),
    _int("tick_us"),
    _text("after_site"),  # the last site that the tick has reached; empty when it is done
    PrimaryKeyConstraint("schedule", "zone"),
    scope="cell",
)

revisions = _table(
    "hansa_migrations",
    _text("service"),
    _text("revision"),
    _text("phase"),
    _int("applied_at_us"),
    PrimaryKeyConstraint("service", "revision"),
    scope="cell",
)

cell = _table(
    "hansa_cell",
    _text("cell"),
    _int("epoch"),
    _int("position"),  # the last position given on PostgreSQL
    PrimaryKeyConstraint("cell"),
    scope="cell",
)
"""On PostgreSQL where each cell's log stands; on SQLite, with epoch 0, the name by which a depot
knows its cell again (module keeping.claim)."""

sites = _table(
    "hansa_sites",
    _text("site"),
    _text("state"),  # of `residence.State`
    _int("at_us"),  # when it became so; of one that is coming, the name of the copy under way
    _int("epoch", default="0"),  # of the move that made it so; 0 where it was none
    # JSON: of a fenced one, how far other cells were followed; of one that is coming, how long its
    # copy is left alone
    _text("followed", default="'{}'"),
    PrimaryKeyConstraint("site"),
    CheckConstraint(
        "state IN ('here', 'moving', 'gone', 'coming', 'going', 'erased')",
        name="hansa_sites_state",
    ),
    scope="cell",
)
"""The sites that have moved, or are not simply here."""

proof = _table(
    "hansa_proof",
    _text("name"),
    Column("value", LargeBinary, nullable=False),  # sealed
    PrimaryKeyConstraint("name"),
    scope="cell",
)
"""By which a cell knows its master key again (module proof)."""
