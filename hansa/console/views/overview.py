"""Overview: is all well here, and what happened last."""

from typing import Final

from starlette.responses import Response

from hansa.console.views.cells import ENGINES
from hansa.console.visit import Visit
from hansa.kernel.observe.reading import Wanted

EVENTS_SHOWN: Final = 12
FAILED_SHOWN: Final = 5
FAILED_S: Final = 3_600
"""How long ago what failed is still news."""
COUNTED_MAX: Final = 1_000
"""Counts go up to here: what is more is too much, however much it is."""

_LAST = """SELECT position, recorded_at_us, site, type, aggregate, seq FROM hansa_events
WHERE position IS NOT NULL ORDER BY position DESC LIMIT ?1"""


def _counted(table: str, state: str) -> str:
    rows = f"SELECT 1 FROM {table} WHERE state = '{state}' LIMIT {COUNTED_MAX + 1}"
    return f"(SELECT count(*) FROM ({rows}) AS counted)"


_OPEN = "SELECT " + ", ".join(
    (
        _counted("hansa_deliveries", "parked"),
        _counted("hansa_deliveries", "waiting"),
        _counted("hansa_deliveries", "queued"),
        _counted("hansa_due", "parked"),
        _counted("hansa_due", "waiting"),
        "(SELECT min(ready_at_us) FROM hansa_due WHERE state = 'waiting')",
    )
)


async def show(visit: Visit) -> Response:
    """Show the counts that somebody on duty asks for first, and the last events."""
    events = await visit.rows(_LAST, EVENTS_SHOWN)
    parked, waiting, queued, due_parked, due_waiting, due_first = (await visit.rows(_OPEN))[0]
    runtime = visit.runtime
    since_us = visit.now_us - FAILED_S * 1_000_000
    lately = await visit.records.read(
        lambda reader: reader.segments(Wanted(failed=True, since_us=since_us), FAILED_SHOWN)
    )
    return visit.page(
        "overview.html",
        state="draining" if visit.app.draining else runtime.ready() or "serving",
        cell=runtime.storage.cell,
        engine=ENGINES[runtime.storage.dialect],
        services=len(runtime.services),
        operations=len(runtime.operations),
        position=events[0][0] if events else 0,
        parked=parked,
        open=waiting + queued,
        due_parked=due_parked,
        due_waiting=due_waiting,
        due_first=due_first,
        most=COUNTED_MAX,
        events=events,
        failed=lately.rows,
    )
