"""Ticks: what makes `every` run. One row per schedule and zone, however many sites there are.

At an instant of a schedule the tick writes a due row for each site of the zone, in batches, and its
own progress in the same transactions, so that each site gets the instant once. Idle sites cost
nothing in between. After a stop only the newest missed instant runs.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hansa.kernel import residence
from hansa.kernel.caller import SYSTEM
from hansa.kernel.commands import deadline_in
from hansa.kernel.outbox import Outbox, Scheduled, Stamp, flush
from hansa.kernel.relations import sql
from hansa.kernel.schedule import spread_us
from hansa.kernel.site import PLATFORM_SITE, SiteInfo
from hansa.kernel.storage import PLATFORM, Session

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime
    from hansa.kernel.service import Schedule

logger = logging.getLogger("hansa.ticks")

SITES_MAX = 256
LOOK_S = 30.0
"""How often to look for new zones, and how long to sleep at most."""

_READ = "SELECT tick_us, after_site, zone FROM hansa_ticks WHERE schedule = ?1 AND zone = ?2"
_WRITE = """INSERT INTO hansa_ticks (schedule, zone, tick_us, after_site) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (schedule, zone) DO UPDATE SET tick_us = excluded.tick_us,
after_site = excluded.after_site"""
DONE = ""


class Ticker:
    """The loop that runs the schedules of the services in this process."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._task: asyncio.Task[None] | None = None
        self._known: dict[tuple[str, str], int] = {}

    async def start(self) -> None:
        """Begin; a schedule seen for the first time starts now, not in the past."""
        if self._runtime.schedules:
            self._task = asyncio.create_task(self._follow(), name="hansa-ticks")

    async def stop(self) -> None:
        """Stop; a batch under way is either written or not."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            try:
                wait_s = await self.tick()
            except Exception:
                logger.exception("the schedules cannot be run; trying again")
                wait_s = 1.0
            await asyncio.sleep(min(wait_s, LOOK_S))

    async def tick(self) -> float:
        """Run all that is due; return the seconds until the next instant."""
        runtime = self._runtime
        now_us = runtime.clock.now_us()
        next_us = now_us + int(LOOK_S * 1_000_000)
        zones = await runtime.directory.zones()
        for schedule in runtime.schedules.values():
            for zone in zones if schedule.scope == "site" else ("UTC",):
                last_us = await self._last(schedule, zone, now_us)
                newest_us = schedule.cron.newest_us(last_us, now_us, zone)
                if newest_us is not None:
                    await self._run(schedule, zone, newest_us)
                    self._known[schedule.name, zone] = newest_us
                upcoming = schedule.cron.next_us(now_us, zone)
                if upcoming is not None:
                    next_us = min(next_us, upcoming)
        return max(0.0, (next_us - runtime.clock.now_us()) / 1_000_000)

    async def _last(self, schedule: "Schedule", zone: str, now_us: int) -> int:
        """Return the last instant done. An unfinished one counts as not done."""
        known = self._known.get((schedule.name, zone))
        if known is not None:
            return known

        async def body(session: Session) -> int:
            key = (schedule.name, zone)
            rows = await session.fetch(sql(session, _READ), key)
            if rows:
                tick_us: int = rows[0][0]
                return tick_us if rows[0][1] == DONE else tick_us - 1
            await session.run(sql(session, _WRITE), (*key, now_us, DONE))
            return now_us

        committed = await self._runtime.storage.write(
            body, site=PLATFORM, deadline=deadline_in(LOOK_S), across=True
        )
        self._known[schedule.name, zone] = committed.value
        return committed.value

    async def _run(self, schedule: "Schedule", zone: str, tick_us: int) -> None:
        """Write the due rows of one instant, from where it was left."""
        after: str | None = ""
        while after is not None:
            if schedule.scope == "platform":
                sites: Sequence[SiteInfo] = (PLATFORM_SITE,)
            else:
                sites = await self._runtime.directory.in_zone(zone, after, SITES_MAX)
            after = await self._write(schedule, zone, tick_us, after, sites)
        self._runtime.due.wake()

    async def _write(
        self,
        schedule: "Schedule",
        zone: str,
        tick_us: int,
        after: str,
        sites: Sequence[SiteInfo],
    ) -> str | None:
        """Write one batch and the progress; return the site to go on after, None at the end."""
        last = schedule.scope == "platform" or len(sites) < SITES_MAX
        reached = DONE if last else sites[-1].id
        runtime = self._runtime

        async def body(session: Session) -> str | None:
            rows = await session.fetch(sql(session, _READ), (schedule.name, zone))
            done_us, at = (rows[0][0], rows[0][1]) if rows else (0, DONE)
            if done_us > tick_us or (done_us == tick_us and at == DONE):
                return None  # another process was first
            if done_us == tick_us and at != after:
                return str(at)  # it is further than we are
            for site, since_us in (await residence.here(session, runtime, sites)).values():
                if since_us < tick_us:  # what was before, the cell that it came from has done
                    await _write_row(session, runtime, schedule, site, tick_us)
            await session.run(sql(session, _WRITE), (schedule.name, zone, tick_us, reached))
            return None if last else reached

        committed = await self._runtime.storage.write(
            body, site=PLATFORM, deadline=deadline_in(LOOK_S), across=True
        )
        return committed.value


async def _write_row(
    session: Session, runtime: "Runtime", schedule: "Schedule", site: SiteInfo, tick_us: int
) -> None:
    row = tick_row(schedule, site, tick_us, test_clock=False)
    now_us = runtime.clock.now_us()
    stamp = Stamp(site.id, site.slot, site.epoch, tick_us, now_us, SYSTEM.id, "", schedule.name)
    await flush(session, Outbox(due=[row]), stamp)


async def hand_over(session: Session, runtime: "Runtime", site: SiteInfo, at_us: int) -> None:
    """Write what is owed of a site that leaves this cell at an instant: what was due until then,
    and the ticks have not reached yet."""
    for schedule in _of_sites(runtime, site):
        done_us = await _done(session, schedule, site)
        if done_us is not None and done_us < at_us:
            await _owe(session, runtime, schedule, site, done_us, at_us)


async def take_over(session: Session, runtime: "Runtime", site: SiteInfo, at_us: int) -> None:
    """Write what is owed of a site that left another cell at an instant: what was due since then,
    and the ticks have passed here already."""
    for schedule in _of_sites(runtime, site):
        done_us = await _done(session, schedule, site)
        if done_us is not None and done_us > at_us:
            await _owe(session, runtime, schedule, site, at_us, done_us)


def _of_sites(runtime: "Runtime", site: SiteInfo) -> list["Schedule"]:
    if site.test_clock or site.state != "active":
        return []
    return [one for one in runtime.cell_schedules if one.scope == "site"]


async def _owe(
    session: Session,
    runtime: "Runtime",
    schedule: "Schedule",
    site: SiteInfo,
    after_us: int,
    until_us: int,
) -> None:
    newest_us = schedule.cron.newest_us(after_us, until_us, site.zone)
    if newest_us is not None:
        await _write_row(session, runtime, schedule, site, newest_us)


async def _done(session: Session, schedule: "Schedule", site: SiteInfo) -> int | None:
    """Return up to when a site has got the ticks of a schedule in this cell; None where it has not
    begun here."""
    rows = await session.fetch(sql(session, _READ), (schedule.name, site.zone))
    if not rows:
        return None
    tick_us: int = rows[0][0]
    return tick_us if rows[0][1] == DONE or site.id <= rows[0][1] else tick_us - 1


def tick_row(schedule: "Schedule", site: SiteInfo, tick_us: int, *, test_clock: bool) -> Scheduled:
    """Return the due row of one instant of a schedule on one site; its name makes it unique."""
    run_at_us = tick_us + spread_us(site.id, schedule.name, schedule.spread_s)
    return Scheduled(
        f"every:{schedule.name}:{tick_us}", schedule.name, 1, b"{}", run_at_us,
        None if test_clock else run_at_us,
    )  # fmt: skip
