"""Log: what happened, the newest first, and who has taken each event."""

from typing import Any, Final

from starlette.responses import Response

from hansa.console.cursors import PAGE
from hansa.console.payloads import event_shown
from hansa.console.visit import Visit
from hansa.kernel import log
from hansa.kernel.problems import NotFound

POSITION_MAX: Final = 2**62
LOOKED_THROUGH: Final = 20_000
"""How many events are looked through for those of a type, on one page."""

_COLUMNS = "position, recorded_at_us, site, type, aggregate, seq, cause, principal"
_DELIVERIES = """SELECT subscriber, state, attempt, ready_at_us, error, failed_at_us
FROM hansa_deliveries WHERE position = ?1 AND event = ?2"""
_RECEIPT = "SELECT at_us FROM hansa_receipts WHERE subscriber = ?1 AND event = ?2"
_CURSOR = "SELECT position FROM hansa_cursors WHERE subscriber = ?1 AND slot = ?2"


async def every(visit: Visit) -> Response:
    """Show the log: all of it, or a site's, an aggregate's, or the events of a type."""
    site, aggregate, kind = (visit.asked(name) for name in ("site", "aggregate", "type"))
    before = visit.asked_number("before") or POSITION_MAX
    parts, given = ["position < ?1"], list[Any]([before])

    def only(condition: str, value: Any) -> None:
        given.append(value)
        parts.append(condition.format(place=len(given)))

    if site:
        only("site = ?{place}", site)
        if aggregate:
            only("aggregate = ?{place}", aggregate)
        else:
            only("slot = ?{place}", (await visit.runtime.site(site)).slot)
    floor = 0
    if kind:
        if before == POSITION_MAX:
            before = await visit.reading(log.last) + 1
        floor = max(0, before - LOOKED_THROUGH)
        only("type = ?{place}", kind)
        only("position >= ?{place}", floor)
    order = "seq" if site and aggregate else "position"
    rows = await visit.rows(
        f"SELECT {_COLUMNS} FROM hansa_events WHERE {' AND '.join(parts)}"
        f" ORDER BY {order} DESC LIMIT {PAGE + 1}",
        *given,
    )
    further = rows[PAGE - 1][0] if len(rows) > PAGE else floor
    return visit.page(
        "log.html", events=rows[:PAGE], site=site, aggregate=aggregate, type=kind,
        next=further, looked=LOOKED_THROUGH if kind and len(rows) <= PAGE and floor else 0,
        types=sorted({name for one in visit.runtime.services for name in one.events}),
    )  # fmt: skip


async def one(visit: Visit) -> Response:
    """Show an event with its data, and what became of it at each subscriber. Raises NotFound."""
    position = visit.place_number("position")
    event = await visit.reading(lambda session: log.at(session, position))
    if event is None:
        raise NotFound(f"The log has nothing at {position}, or nothing any more.")
    failed = {row[0]: row for row in await visit.rows(_DELIVERIES, position, event.id)}
    taken: list[tuple[str, str, int, str]] = []
    for subscription in visit.runtime.subscriptions.get(event.type, ()):
        name = subscription.name
        if name in failed:
            continue
        receipt = await visit.rows(_RECEIPT, name, event.id)
        at = await visit.rows(_CURSOR, name, event.slot)
        passed = bool(at) and at[0][0] >= position
        state = "done" if receipt or passed else "to come"
        taken.append((name, state, receipt[0][0] if receipt else 0, ""))
    return visit.page(
        "event.html", event=event, data=event_shown(visit.runtime, event), taken=taken,
        failed=list(failed.values()),
    )  # fmt: skip
