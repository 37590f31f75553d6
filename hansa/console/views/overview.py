"""Overview: is all well here, and what happened last."""

from starlette.responses import Response

from hansa.console.visit import Visit

EVENTS_SHOWN = 12

_LAST = """SELECT position, recorded_at_us, site, type, aggregate, seq FROM hansa_events
WHERE position IS NOT NULL ORDER BY position DESC LIMIT ?1"""
_DELIVERIES = "SELECT state, count(*) FROM hansa_deliveries GROUP BY state"
_DUE = """SELECT state, count(*), min(ready_at_us) FROM
(SELECT state, ready_at_us FROM hansa_due ORDER BY state, ready_at_us LIMIT 20000) AS taken
GROUP BY state"""


async def show(visit: Visit) -> Response:
    """Show the counts that somebody on duty asks for first, and the last events."""
    events = await visit.rows(_LAST, EVENTS_SHOWN)
    deliveries = dict[str, int](map(tuple, await visit.rows(_DELIVERIES)))
    due = {state: (number, first) for state, number, first in await visit.rows(_DUE)}
    runtime = visit.runtime
    state = "draining" if visit.app.draining else runtime.ready()
    return visit.page(
        "overview.html",
        state=state or "serving",
        cell=runtime.storage.cell,
        engine={"sqlite": "SQLite", "postgresql": "PostgreSQL"}[runtime.storage.dialect],
        requests=visit.app.gate.inside,
        services=len(runtime.services),
        operations=len(runtime.operations),
        position=events[0][0] if events else 0,
        parked=deliveries.get("parked", 0),
        open=deliveries.get("waiting", 0) + deliveries.get("queued", 0),
        due_parked=due.get("parked", (0, 0))[0],
        due_waiting=due.get("waiting", (0, 0))[0],
        due_first=due.get("waiting", (0, 0))[1],
        events=events,
    )
