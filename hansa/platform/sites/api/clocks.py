"""Clocks: the test clocks of sites that were made with one."""

from datetime import datetime

from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.problems import Conflict, Fault, Unprocessable
from hansa.kernel.structs import Struct
from hansa.platform.sites import sites as service
from hansa.platform.sites.api.sites import check_aware, find_site
from hansa.platform.sites.process import advance_test_clock, read_test_clock


class NewTime(Struct):
    """To which instant a clock is to advance."""

    to: datetime


class ClockState(Struct):
    """A test clock: it has come to `now` and goes on to `target`; equal when it stands."""

    now: datetime
    target: datetime


async def _check_has_clock(ctx: Context, site: ID) -> None:
    if not (await find_site(ctx, site)).test_clock:
        raise Conflict(
            "This site goes by the real time; only a site made with a test clock can be moved.",
            slug="no-test-clock",
        )


@service.query("GET /{site}/clock", needs="platform.clocks:read", scope="platform")
async def get_clock(ctx: Context, site: ID) -> ClockState:
    """Return a site's test clock. Raises NotFound, and Conflict on a site that has none."""
    await _check_has_clock(ctx, site)
    return ClockState(*await read_test_clock(ctx, site))


@service.command(
    "POST /{site}/clock/advance", needs="platform.clocks:write", scope="platform", status=202
)
async def advance_clock(ctx: Context, site: ID, body: NewTime, prepared: ClockState) -> ClockState:
    """Have a test clock advance: all that is due on the way is done, in its order. The answer
    waits up to 5 s for it to arrive; `get_clock` tells how a longer way goes on.

    Raises NotFound, Conflict on a site without a test clock or while its clock is on its way, and
    Unprocessable and Invalid for an instant that it cannot go to.
    """
    return prepared


@advance_clock.prepare
async def _advance(ctx: Context, site: ID, body: NewTime) -> ClockState:
    """The clock belongs to another site, which this command could not write."""
    await _check_has_clock(ctx, site)
    try:
        to = check_aware(body.to)
    except ValueError as error:
        raise Unprocessable("The instant is refused.", errors=(Fault("/to", str(error)),)) from None
    await advance_test_clock(ctx, site, to)
    return ClockState(*await read_test_clock(ctx, site))
