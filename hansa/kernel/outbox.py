"""Outbox: what a command leaves behind beside its rows — events, due work, its answer.

All of it is written in the command's own transaction; on PostgreSQL in one round trip. What must
never happen here: an event without its fact, a gap in the sequence of an aggregate, or an answer
kept for something that was not committed.
"""

from collections.abc import Iterable

from hansa.kernel.storage import Session
from hansa.kernel.structs import Struct


class Emitted(Struct):
    """An event on its way into the log."""

    id: str
    type: str
    version: int
    aggregate: str
    data: bytes


class Scheduled(Struct):
    """A due row on its way into the table. `ready_at_us` is None on a test clock."""

    id: str
    name: str
    version: int
    arguments: bytes
    run_at_us: int
    ready_at_us: int | None


class Kept(Struct):
    """The answer that a key is remembered with; status 0 while an action's attempt is open."""

    digest: str
    request: str
    status: int
    answer: bytes
    sealed: bool
    attempt: str


class Outbox:
    """What one command has emitted and scheduled so far, and the answer to keep."""

    __slots__ = ("cancelled", "due", "events", "kept")

    def __init__(self, *, events: Iterable[Emitted] = (), due: Iterable[Scheduled] = ()) -> None:
        """Begin with what is known to leave, if anything is."""
        self.events = list(events)
        self.due = list(due)
        self.cancelled: list[str] = []
        self.kept: Kept | None = None


class Stamp(Struct):
    """What every row of one command carries: whose it is, when, and because of what."""

    site: str
    slot: int
    epoch: int
    at_us: int  # the site's clock
    recorded_at_us: int  # the machine's
    principal: str
    trace: str
    cause: str


async def flush(session: Session, outbox: Outbox, stamp: Stamp) -> None:
    """Write everything in the outbox as the last act of a command."""
    if outbox.cancelled:
        mark = "?" if session.dialect == "sqlite" else "$"
        for name in outbox.cancelled:
            await session.run(
                f"DELETE FROM hansa_due WHERE site = {mark}1 AND id = {mark}2", (stamp.site, name)
            )
    if session.dialect == "sqlite":
        await _flush_sqlite(session, outbox, stamp)
    elif outbox.events or outbox.due or outbox.kept:
        await _flush_postgres(session, outbox, stamp)


_SEQ = """INSERT INTO hansa_aggregates (site, aggregate, seq) VALUES (?1, ?2, 1)
ON CONFLICT (site, aggregate) DO UPDATE SET seq = seq + 1 RETURNING seq"""

_EVENT = """INSERT INTO hansa_events (id, site, slot, epoch, aggregate, seq, type, version, at_us,
recorded_at_us, trace, cause, principal, data)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"""

# A second schedule under the same id replaces the first: there is one row of that name.
_DUE = """INSERT INTO hansa_due (id, site, name, version, arguments, run_at_us, ready_at_us, state,
attempt, holder, lease_until_us, error, principal, trace)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'waiting', 0, '', 0, '', ?8, ?9)
ON CONFLICT (site, id) DO UPDATE SET name = excluded.name,
arguments = excluded.arguments, version = excluded.version,
run_at_us = excluded.run_at_us, ready_at_us = excluded.ready_at_us, state = 'waiting', attempt = 0,
holder = '', lease_until_us = 0, error = ''"""

_KEY = """INSERT INTO hansa_keys (site, digest, request, status, answer, sealed, attempt,
created_at_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"""


async def _flush_sqlite(session: Session, outbox: Outbox, stamp: Stamp) -> None:
    s = stamp
    for event in outbox.events:
        rows = await session.fetch(_SEQ, (s.site, event.aggregate))
        await session.run(
            _EVENT,
            (event.id, s.site, s.slot, s.epoch, event.aggregate, rows[0][0], event.type,
             event.version, s.at_us, s.recorded_at_us, s.trace, s.cause, s.principal, event.data),
        )  # fmt: skip
    for due in outbox.due:
        await session.run(
            _DUE,
            (due.id, s.site, due.name, due.version, due.arguments, due.run_at_us, due.ready_at_us,
             s.principal, s.trace),
        )  # fmt: skip
    kept = outbox.kept
    if kept:
        await session.run(
            _KEY,
            (s.site, kept.digest, kept.request, kept.status, kept.answer, int(kept.sealed),
             kept.attempt, s.recorded_at_us),
        )  # fmt: skip


# One statement for every command, so that it is planned once; parts without rows do nothing.
_FLUSH = """WITH new AS (
  SELECT * FROM unnest($9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::text[],
    $14::bigint[], $15::bytea[]) WITH ORDINALITY
    AS new (id, aggregate, rank, total, type, version, data, place)),
top AS (
  INSERT INTO hansa_aggregates (site, aggregate, seq)
  SELECT $1::text, aggregate, max(total) FROM new GROUP BY aggregate ORDER BY aggregate
  ON CONFLICT (site, aggregate) DO UPDATE SET seq = hansa_aggregates.seq + excluded.seq
  RETURNING aggregate, seq),
events AS (
  INSERT INTO hansa_events (id, site, slot, epoch, aggregate, seq, type, version, at_us,
    recorded_at_us, trace, cause, principal, data)
  SELECT new.id, $1::text, $2::bigint, $3::bigint, new.aggregate, top.seq - new.total + new.rank,
    new.type, new.version, $4::bigint, $5::bigint, $7::text, $8::text, $6::text, new.data
  FROM new JOIN top ON top.aggregate = new.aggregate ORDER BY new.place),
scheduled AS (
  INSERT INTO hansa_due (id, site, name, version, arguments, run_at_us, ready_at_us, state,
    attempt, holder, lease_until_us, error, principal, trace)
  SELECT id, $1::text, name, version, arguments, run_at_us, ready_at_us, 'waiting', 0, '', 0, '',
    $6::text, $7::text
  FROM unnest($16::text[], $17::text[], $18::bigint[], $19::bytea[], $20::bigint[], $21::bigint[])
    AS due (id, name, version, arguments, run_at_us, ready_at_us)
  ON CONFLICT (site, id) DO UPDATE SET name = excluded.name,
    arguments = excluded.arguments, version = excluded.version, run_at_us = excluded.run_at_us,
    ready_at_us = excluded.ready_at_us, state = 'waiting', attempt = 0, holder = '',
    lease_until_us = 0, error = ''),
kept AS (
  INSERT INTO hansa_keys (site, digest, request, status, answer, sealed, attempt, created_at_us)
  SELECT $1::text, $22::text, $23::text, $24::bigint, $25::bytea, $26::bigint, $27::text,
    $5::bigint
  WHERE $22::text <> '')
SELECT pg_current_xact_id()::text::bigint,
  coalesce((SELECT state FROM hansa_sites WHERE site = $1::text), '')"""

_NO_KEY = ("", "", 0, b"", 0, "")


async def _flush_postgres(session: Session, outbox: Outbox, stamp: Stamp) -> None:
    totals: dict[str, int] = {}
    ranks: list[int] = []
    for event in outbox.events:
        rank = totals[event.aggregate] = totals.get(event.aggregate, 0) + 1
        ranks.append(rank)
    events, due = outbox.events, outbox.due
    key, kept = _NO_KEY, outbox.kept
    if kept:
        key = (kept.digest, kept.request, kept.status, kept.answer, int(kept.sealed), kept.attempt)
    rows = await session.fetch(
        _FLUSH,
        (
            stamp.site, stamp.slot, stamp.epoch, stamp.at_us, stamp.recorded_at_us,
            stamp.principal, stamp.trace, stamp.cause,
            [e.id for e in events], [e.aggregate for e in events], ranks,
            [totals[e.aggregate] for e in events], [e.type for e in events],
            [e.version for e in events], [e.data for e in events],
            [d.id for d in due], [d.name for d in due], [d.version for d in due],
            [d.arguments for d in due], [d.run_at_us for d in due],
            [d.ready_at_us for d in due], *key,
        ),
    )  # fmt: skip
    session.position, session.residence = rows[0][0], rows[0][1]
