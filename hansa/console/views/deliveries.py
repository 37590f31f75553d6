"""Deliveries: events that a subscriber failed on, and what is done about them by hand."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.responses import Response

from hansa.console.cursors import PAGE, cursor_of, part, read_cursor
from hansa.console.payloads import HIDDEN, event_shown
from hansa.console.visit import Visit
from hansa.console.wording import pretty
from hansa.kernel import codec, interventions, log
from hansa.kernel.problems import Invalid, NotFound
from hansa.kernel.service import heard_in
from hansa.kernel.storage import Row

STATES: Final = ("parked", "waiting", "queued", "skipped")

_LISTED = """SELECT subscriber, event, site, aggregate, position, state, attempt, ready_at_us,
error, failed_at_us, trace FROM hansa_deliveries"""
_ONE = """SELECT subscriber, event, site, aggregate, position, state, attempt, ready_at_us, error,
failed_at_us, trace, data FROM hansa_deliveries WHERE subscriber = ?1 AND event = ?2"""


async def every(visit: Visit) -> Response:
    """Show the deliveries in a state, the newest first, of all subscribers or of one."""
    state, subscriber = visit.asked("state", "parked"), visit.asked("subscriber")
    cursor = visit.asked("cursor")
    rows = await _listed(visit, state, subscriber, cursor)
    shown, further = part(rows, lambda row: cursor_of(row[7], row[4], row[0]))
    names = sorted(one.name for one in heard_in(visit.runtime.services))
    return visit.page(
        "deliveries.html", deliveries=shown, next=further, state=state, states=STATES,
        subscriber=subscriber, subscribers=names,
        named=codec.encode(  # the oldest first, as they are to be tried
            [[row[2], row[0], row[1]] for row in sorted(shown, key=lambda row: int(row[4]))]
        ).decode(),
    )  # fmt: skip


async def _listed(visit: Visit, state: str, subscriber: str, cursor: str) -> Sequence[Row]:
    """Return the rows of a page, and one more if there are more. Raises Invalid."""
    if state not in STATES:
        raise Invalid(f"state is one of {', '.join(STATES)}.")
    given: list[Any] = [state]
    where = "state = ?1"
    if subscriber:
        given.append(subscriber)
        where += f" AND subscriber = ?{len(given)}"
    if cursor:
        given += read_cursor(cursor, int, int, str)
        first = len(given) - 2
        where += (
            f" AND (ready_at_us, position, subscriber) < (?{first}, ?{first + 1}, ?{first + 2})"
        )
    return await visit.rows(
        f"{_LISTED} WHERE {where} ORDER BY ready_at_us DESC, position DESC, subscriber DESC"
        f" LIMIT {PAGE + 1}",
        *given,
    )


async def one(visit: Visit) -> Response:
    """Show a delivery: why it failed, and what it is about. Raises NotFound."""
    rows = await visit.rows(_ONE, visit.asked("subscriber"), visit.asked("event"))
    if not rows:
        raise NotFound("It is open no more: the subscriber has taken the event, or never had it.")
    row = rows[0]
    event = await visit.reading(lambda session: log.at(session, row[4]))
    data = "" if event is None else event_shown(visit.runtime, event)
    if row[11] is not None and data != HIDDEN:
        data = pretty(bytes(row[11]))
    return visit.page(
        "delivery.html", delivery=row, event=event, data=data, is_edited=row[11] is not None,
        may_edit=event is not None and data != HIDDEN and row[5] in ("parked", "waiting"),
    )  # fmt: skip


async def replay(visit: Visit) -> Response:
    """Try a delivery anew, with other data if the form has some."""
    data = visit.form.get("data")
    await _do(visit, interventions.replay_delivery, **({} if data is None else {"data": data}))
    return visit.back("/deliveries")


async def replay_shown(visit: Visit) -> Response:
    """Try the deliveries that a page has shown anew; each is a command of its site."""
    await visit.intervene_each(interventions.replay_delivery, "subscriber", "event")
    return visit.back("/deliveries")


async def skip(visit: Visit) -> Response:
    """Leave a delivery out."""
    await _do(visit, interventions.skip_delivery)
    return visit.back("/deliveries")


async def _do(visit: Visit, operation: Any, **more: str) -> None:
    named = {name: visit.sent(name) for name in ("subscriber", "event")}
    await visit.intervene(operation, visit.sent("site"), **named, **more)
