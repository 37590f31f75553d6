"""Process: what of the running process the handlers of sites reach, apart from their database.

Sites are the one service that tells the kernel itself something (who may come in, which clock a new
site goes by), so it reaches further than a Context lets others; all of it is here.
"""

import asyncio
from datetime import datetime
from typing import Final, cast

from hansa.kernel import advance
from hansa.kernel.clock import make_test_clock
from hansa.kernel.context import ACROSS, Context
from hansa.kernel.fence import SiteElsewhere
from hansa.kernel.ids import ID
from hansa.kernel.observe.prometheus import NEEDS as METRICS
from hansa.kernel.problems import Conflict
from hansa.kernel.relations import sql
from hansa.kernel.schedule import from_us, to_us
from hansa.kernel.sealing import Sealer
from hansa.kernel.storage import PLATFORM, Session
from hansa.platform.sites.directory import Directory

ARRIVE_S: Final = 5.0
"""How long an answer waits for a test clock to arrive; it goes on moving after that."""

_CLOCK = "SELECT now_us, target_us FROM hansa_clocks WHERE site = ?1"


def directory_of(ctx: Context) -> Directory:
    """Return the process's directory, to tell it what a command changes."""
    return cast(Directory, ctx.runtime.directory)


def sealer_of(ctx: Context) -> Sealer:
    """Return what seals secret settings."""
    return ctx.runtime.sealer


def needs_of(ctx: Context) -> list[str]:
    """Return the permissions that something here asks for."""
    asked = [operation.needs for operation in ctx.runtime.operations]
    return [*(one for one in asked if isinstance(one, str)), ACROSS, METRICS]


async def start_test_clock(ctx: Context, site: ID, now: datetime) -> None:
    """Give a site that this command makes a clock of its own, in the same transaction."""
    await ctx.session.enter_site(site)
    await make_test_clock(ctx.session, site, to_us(now))
    await ctx.session.enter_site(PLATFORM)


async def read_test_clock(ctx: Context, site: ID) -> tuple[datetime, datetime]:
    """Return where a site's test clock is and where it is going, as it is now. Raises Conflict
    where it has moved to another cell with its site."""

    async def body(session: Session) -> tuple[datetime, datetime]:
        rows = await session.fetch(sql(session, _CLOCK), (site,))
        return from_us(rows[0][0]), from_us(rows[0][1])

    try:
        return await ctx.runtime.storage.read(body, site=site, deadline=ctx.run.deadline)
    except SiteElsewhere:
        raise _moved() from None


async def read_ticked(ctx: Context, site: ID) -> tuple[int, int]:
    """Return where a test clock stands, and up to where its schedules have run."""
    now_us, _, ticked_us = await advance.read_clock(ctx.runtime, await ctx.runtime.site(site))
    return now_us, ticked_us


async def advance_test_clock(ctx: Context, site: ID, to: datetime) -> None:
    """Have a test clock go to an instant, and wait a moment for it to arrive. Asking for the same
    instant again changes nothing. Raises Conflict and Invalid (see `kernel.advance`)."""
    runtime = ctx.runtime
    info = await runtime.site(site)
    try:
        await advance.aim(runtime, info, to)
    except SiteElsewhere:
        raise _moved() from None
    await asyncio.wait([await runtime.advancing(info)], timeout=ARRIVE_S)


def _moved() -> Conflict:
    return Conflict(
        "The site was moved to another cell, and its clock with it; it moves only where all"
        " services run in one process.",
        slug="split-test-clock",
    )
