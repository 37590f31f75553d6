"""Clocks: the machine's, and the test clocks of sites. The one place where the time is read.

Business time is the site's: on a normal site the machine's, on a test clock a row that only moves
when it is told to. Leases, deadlines, backoff and the keeping of keys use the machine's time.
What must never happen here: business code that reads the time from anywhere else.
"""

import time
from typing import Protocol

from hansa.kernel.relations import sql
from hansa.kernel.site import SiteInfo
from hansa.kernel.storage import Session


class Clock(Protocol):
    """Where the machine's time comes from; tests and the simulation put their own in its place."""

    def now_us(self) -> int:
        """Return microseconds since 1970 in UTC."""
        ...


class MachineClock:
    """The real one. It never goes back within a process, whatever is done to the machine's."""

    __slots__ = ("_last_us",)

    def __init__(self) -> None:
        self._last_us = 0

    def now_us(self) -> int:
        """Return microseconds since 1970 in UTC."""
        now_us = time.time_ns() // 1000
        if now_us > self._last_us:
            self._last_us = now_us
        return self._last_us


_NOW = "SELECT now_us FROM hansa_clocks WHERE site = ?1"


async def site_now_us(session: Session, site: SiteInfo, machine_us: int) -> int:
    """Return the instant by the site's clock, as of this transaction."""
    if not site.test_clock:
        return machine_us
    rows = await session.fetch(sql(session, _NOW), (site.id,))
    if not rows:
        return machine_us
    now_us: int = rows[0][0]
    return now_us


async def make_test_clock(session: Session, site: str, now_us: int) -> None:
    """Give a new site a test clock that stands at `now_us`."""
    await session.run(
        sql(
            session,
            "INSERT INTO hansa_clocks (site, now_us, target_us, ticked_us) VALUES (?1, ?2, ?2, ?2)",
        ),
        (site, now_us),
    )
