"""Lag: how many events each subscriber of a cell has yet to take.

Of a subscriber's position only what it takes counts: it does not move past other events. So the
events are counted, in one pass over the end of the log, however many subscribers there are. Another
cell that follows this one's log looks at all of it, and is behind by what it has not asked for yet.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from hansa.kernel.catalog import event_name
from hansa.kernel.relations import sql
from hansa.kernel.service import Subscription
from hansa.kernel.storage import Session
from hansa.kernel.structs import Struct

FOLLOWER: Final = "cell:"
"""What the names of those begin with that follow from another cell."""
SUBSCRIBERS_MAX: Final = 10_000

_LAG: Final = f"""WITH ends AS (SELECT position, slot, type, site FROM hansa_events
  WHERE position > (SELECT min(floor) FROM hansa_subscribers) ORDER BY position DESC LIMIT ?1),
takers (subscriber, type) AS (VALUES {{takers}}),
taken AS (SELECT t.subscriber, e.position, e.slot FROM ends e JOIN takers t ON t.type = e.type
  {{listeners}}),
behind AS (
  SELECT s.subscriber, count(*) AS events FROM taken t
  JOIN hansa_subscribers s ON s.subscriber = t.subscriber
  LEFT JOIN hansa_cursors c ON c.subscriber = t.subscriber AND c.slot = t.slot
  WHERE t.position > s.floor AND t.position > coalesce(c.position, 0) GROUP BY s.subscriber
  UNION ALL SELECT s.subscriber, count(*) FROM hansa_subscribers s
  JOIN ends e ON e.position > s.floor
  WHERE substr(s.subscriber, 1, {len(FOLLOWER)}) = '{FOLLOWER}' GROUP BY s.subscriber)
SELECT s.subscriber, s.seen_at_us, coalesce(b.events, 0),
  (SELECT count(*) FROM hansa_deliveries d
    WHERE d.subscriber = s.subscriber AND d.state <> 'skipped')
FROM hansa_subscribers s LEFT JOIN behind b ON b.subscriber = s.subscriber
ORDER BY s.subscriber LIMIT {SUBSCRIBERS_MAX}"""


class Lag(Struct):
    """How far one is: `behind` of the events that were looked at, None where nothing is known of
    what it takes; `open` are those it failed on."""

    subscriber: str
    seen_at_us: int
    behind: int | None
    open: int


def statement(subscriptions: Iterable[Subscription]) -> str:
    """Return the SQL that counts; its parameter is how many of the last events to look at."""
    takers, listeners = ["('', '')"], list[str]()
    for one in subscriptions:
        if one.event is not None:
            takers.append(f"('{one.name}', '{event_name(one.event)}')")
        else:
            assert one.listeners is not None  # who takes every event says of which sites
            listeners.append(
                f"UNION ALL SELECT '{one.name}', e.position, e.slot FROM ends e"
                f" WHERE e.site IN (SELECT site FROM {one.listeners.name})"
            )
    return _LAG.format(takers=", ".join(takers), listeners="\n  ".join(listeners))


def lags(rows: Iterable[Sequence[Any]], subscriptions: Iterable[Subscription]) -> list[Lag]:
    """Return what the rows of the statement say."""
    known = {one.name for one in subscriptions}
    found: list[Lag] = []
    for name, seen_at_us, behind, left in rows:
        is_known = name in known or name.startswith(FOLLOWER)
        found.append(Lag(name, seen_at_us, behind if is_known else None, left))
    return found


async def look(session: Session, subscriptions: Sequence[Subscription], last: int) -> list[Lag]:
    """Return how far everybody is by the last so many events."""
    return lags(await session.fetch(sql(session, statement(subscriptions)), (last,)), subscriptions)
