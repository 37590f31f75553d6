"""Due work: what is to be done later, what is being done, and what could not be."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.responses import Response

from hansa.console.cursors import PAGE, cursor_of, part, read_cursor
from hansa.console.payloads import HIDDEN, arguments_shown
from hansa.console.visit import Visit
from hansa.kernel import actions, codec, interventions
from hansa.kernel.problems import Invalid, NotFound
from hansa.kernel.storage import Row

STATES: Final = {
    "waiting": "state = 'waiting' AND ready_at_us IS NOT NULL",
    "parked": "state = 'parked' AND ready_at_us IS NOT NULL",
    "clocked": "state = 'waiting' AND ready_at_us IS NULL",
}
"""`clocked` waits for the test clock of its site."""

_COLUMNS = """site, id, name, state, attempt, run_at_us, coalesce(ready_at_us, 0), lease_until_us,
error, principal, version"""


async def every(visit: Visit) -> Response:
    """Show due work in a state, what comes first at the top."""
    state, cursor = visit.asked("state", "waiting"), visit.asked("cursor")
    shown, further = part(
        await _listed(visit, state, cursor), lambda row: cursor_of(row[6], row[0], row[1])
    )
    return visit.page(
        "due.html", due=shown, next=further, state=state, states=list(STATES),
        named=codec.encode([[row[0], row[1]] for row in shown]).decode(),
    )  # fmt: skip


async def _listed(visit: Visit, state: str, cursor: str) -> Sequence[Row]:
    """Return the rows of a page, and one more if there are more. Raises Invalid."""
    if state not in STATES:
        raise Invalid(f"state is one of {', '.join(STATES)}.")
    where, given = STATES[state], list[Any]()
    order = "site, id" if state == "clocked" else "ready_at_us, site, id"
    if cursor:
        values = read_cursor(cursor, int, str, str)
        given = list(values[1:] if state == "clocked" else values)
        places = ", ".join(f"?{place}" for place in range(1, len(given) + 1))
        where += f" AND ({order}) > ({places})"
    return await visit.rows(
        f"SELECT {_COLUMNS} FROM hansa_due WHERE {where} ORDER BY {order} LIMIT {PAGE + 1}", *given
    )


async def one(visit: Visit) -> Response:
    """Show a row of due work with its arguments. Raises NotFound."""
    rows = await visit.rows(
        f"SELECT {_COLUMNS}, arguments FROM hansa_due WHERE site = ?1 AND id = ?2",
        visit.asked("site"), visit.asked("id"),
    )  # fmt: skip
    if not rows:
        raise NotFound("It is done, or was cancelled, or never was.")
    row = rows[0]
    shown = arguments_shown(visit.runtime, row[2], bytes(row[11]))
    is_attempt = actions.is_resume(row[2])
    running = row[7] > visit.now_us
    has_failed = row[3] == "parked" or (row[4] > 0 and not running)
    return visit.page(
        "due_one.html", row=row, arguments=shown, running=running, may_retry=has_failed,
        may_edit=has_failed and not is_attempt and shown != HIDDEN, may_cancel=not is_attempt,
    )  # fmt: skip


async def retry(visit: Visit) -> Response:
    """Try due work again now, with other arguments if the form has some."""
    arguments = visit.form.get("arguments")
    more = {} if arguments is None else {"arguments": arguments}
    await visit.intervene(interventions.retry_due, visit.sent("site"), id=visit.sent("id"), **more)
    return visit.back("/due")


async def retry_shown(visit: Visit) -> Response:
    """Try the due work that a page has shown again now; each is a command of its site."""
    await visit.intervene_each(interventions.retry_due, "id")
    return visit.back("/due?state=parked")


async def cancel(visit: Visit) -> Response:
    """Take due work away."""
    await visit.intervene(interventions.cancel_due, visit.sent("site"), id=visit.sent("id"))
    return visit.back("/due")
