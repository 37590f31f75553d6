"""Process: what of the running process the handlers of sites reach, apart from their database.

Sites are the one service that tells the kernel itself something (who may come in, which clock a new
site goes by), so it reaches further than a Context lets others; all of it is here.
"""

from datetime import datetime
from typing import Protocol, cast

from hansa.kernel.clock import make_test_clock
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.schedule import to_us
from hansa.kernel.sealing import Sealer
from hansa.kernel.storage import PLATFORM
from hansa.platform.sites.directory import Directory


class TestClocks(Protocol):
    """The kernel's driver of test clocks, a resource of the process."""

    __test__ = False  # not a test, whatever its name

    async def read(self, site: ID) -> tuple[datetime, datetime]:
        """Return where a test clock is and where it is going."""
        ...

    async def advance(self, site: ID, to: datetime) -> None:
        """Have a test clock go to an instant; returns when that is written down. Asking for the
        same instant again changes nothing. Raises Conflict and Invalid."""
        ...


def directory_of(ctx: Context) -> Directory:
    """Return the process's directory, to tell it what a command changes."""
    return cast(Directory, ctx.runtime.resources[Directory])


def sealer_of(ctx: Context) -> Sealer:
    """Return what seals secret settings."""
    return ctx.runtime.sealer


def clocks_of(ctx: Context) -> TestClocks:
    """Return the driver of test clocks."""
    return cast(TestClocks, ctx.runtime.resources[TestClocks])


async def start_test_clock(ctx: Context, site: ID, now: datetime) -> None:
    """Give a site that this command makes a clock of its own, in the same transaction."""
    await ctx.session.enter_site(site)
    await make_test_clock(ctx.session, site, to_us(now))
    await ctx.session.enter_site(PLATFORM)
