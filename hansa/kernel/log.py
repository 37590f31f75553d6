"""The log: events in the order of their commit, read by position.

On SQLite the position is the row's own number, since one writer commits in the order in which it
inserts. On PostgreSQL it is given after the commit (see `sequencer`), because a serial column is
not commit order. Readers see positioned rows only. What must never happen here: an event that
appears behind a position somebody has already read past.
"""

from collections.abc import Sequence
from typing import Any

from hansa.kernel.relations import sql
from hansa.kernel.storage import Session
from hansa.kernel.structs import Struct


class LogEvent(Struct):
    """An event as it stands in the log."""

    position: int
    id: str
    site: str
    slot: int
    epoch: int
    aggregate: str
    seq: int
    type: str
    version: int
    at_us: int
    trace: str
    cause: str
    principal: str
    data: bytes


_COLUMNS = (
    "position, id, site, slot, epoch, aggregate, seq, type, version, at_us, trace, cause,"
    " principal, data"
)
_AFTER = f"SELECT {_COLUMNS} FROM hansa_events WHERE position > ?1 ORDER BY position LIMIT ?2"
_AT = f"SELECT {_COLUMNS} FROM hansa_events WHERE position = ?1"
_OF_SITE = (
    f"SELECT {_COLUMNS} FROM hansa_events WHERE slot = ?1 AND site = ?2 AND position > ?3"
    " ORDER BY position LIMIT ?4"
)
# Of what is pruned the aggregate's own sequence is kept.
_TAIL = """SELECT a.seq, coalesce(newest.id, ''), coalesce(known.id, '') FROM hansa_aggregates a
LEFT JOIN hansa_events newest
  ON newest.site = a.site AND newest.aggregate = a.aggregate AND newest.seq = a.seq
LEFT JOIN hansa_events known
  ON known.site = a.site AND known.aggregate = a.aggregate AND known.seq = ?3
WHERE a.site = ?1 AND a.aggregate = ?2"""
_LAST_OF_SLOT = "SELECT coalesce(max(position), 0) FROM hansa_events WHERE slot = ?1"
_LAST = "SELECT coalesce(max(position), 0) FROM hansa_events"


def _events(rows: Sequence[Sequence[Any]]) -> list[LogEvent]:
    return [LogEvent(*row) for row in rows]


async def after(session: Session, position: int, limit: int) -> list[LogEvent]:
    """Return the next events of the cell after a position, at most `limit`."""
    return _events(await session.fetch(sql(session, _AFTER), (position, limit)))


async def of_site(
    session: Session, site: str, slot: int, position: int, limit: int
) -> list[LogEvent]:
    """Return the next events of one site after a position, at most `limit`."""
    return _events(await session.fetch(sql(session, _OF_SITE), (slot, site, position, limit)))


async def at(session: Session, position: int) -> LogEvent | None:
    """Return the event at a position, None where it is gone."""
    found = _events(await session.fetch(sql(session, _AT), (position,)))
    return found[0] if found else None


async def last(session: Session, slot: int | None = None) -> int:
    """Return the last position of the cell or of one slot, 0 for an empty log."""
    if slot is None:
        rows = await session.fetch(_LAST)
    else:
        rows = await session.fetch(sql(session, _LAST_OF_SLOT), (slot,))
    position: int = rows[0][0]
    return position


async def tail(session: Session, site: str, aggregate: str, seq: int) -> tuple[int, str, str]:
    """Return the sequence and the id of an aggregate's newest event, and the id of the one with a
    sequence; an id is empty where the event is not there (any more)."""
    rows = await session.fetch(sql(session, _TAIL), (site, aggregate, seq))
    return (rows[0][0], rows[0][1], rows[0][2]) if rows else (0, "", "")
