"""Watermarks: what a cell knows of its copies of another cell's events once they are pruned.

A copy that stands is known by its sequence. The other cell's log may have the event for longer: a
subscriber there is behind, a delivery is open, or its site moves and begins anew in another log. So
what stays of pruned copies is the last sequence of each type in each aggregate, at or below which
none is taken again; by type, because each has a position of its own in the other log (see
`remote.following`). They stand among the sequences of aggregates, which are kept for good and move
with their site. What must never happen here: a mark above an event that was not taken.
"""

from typing import Final

from hansa.kernel.relations import sql
from hansa.kernel.storage import Session

# What was emitted in this cell has its sequence there already.
_NOTE: Final = """INSERT INTO hansa_aggregates (site, aggregate, seq)
SELECT site, type || ' ' || aggregate, max(seq) FROM hansa_events
WHERE position IN ({positions}) AND NOT EXISTS (SELECT 1 FROM hansa_aggregates a
  WHERE a.site = hansa_events.site AND a.aggregate = hansa_events.aggregate
  AND a.seq >= hansa_events.seq)
GROUP BY site, type, aggregate ORDER BY site, type, aggregate
ON CONFLICT (site, aggregate) DO UPDATE SET seq = CASE
WHEN excluded.seq > hansa_aggregates.seq THEN excluded.seq ELSE hansa_aggregates.seq END"""


def taken(site: str, name: str, seq: str) -> str:
    """Return the condition, on three parameters, that an event was taken and pruned; the name is of
    `name_of`."""
    mark = f"site = {site} AND aggregate = {name} AND seq >= {seq}"
    return f"EXISTS (SELECT 1 FROM hansa_aggregates WHERE {mark})"


def name_of(type: str, aggregate: str) -> str:
    """Return under which name the mark of a type in an aggregate stands. No aggregate has a name
    like it: the service that these begin with has neither dot nor space."""
    return f"{type} {aggregate}"


async def note(session: Session, positions: str, bound: int) -> None:
    """Have marks for those events at some positions (a SELECT with one parameter) that are copies;
    the same transaction takes them away."""
    await session.run(sql(session, _NOTE.format(positions=positions)), (bound,))
