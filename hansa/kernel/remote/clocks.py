"""Clocks: a test clock where a site's services are in several processes, and cells.

The process of the sites keeps the clock, and each cell a copy that its transactions read. The
keeper stops at every instant at which something is due anywhere, in the order (run_at, id): it has
all cells reach the instant, one process do the row, and all come to rest; then it looks again. Each
question may be asked twice, so one that is lost on the way, or a keeper that dies, changes nothing.
What must never happen here: a row that is done before an earlier one of another cell, or twice.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from hansa.kernel import actions, advance, codec, machine
from hansa.kernel.advance import CLOCK, LOOK_S, MOVE, ClockElsewhere, Stop
from hansa.kernel.answer import Answer
from hansa.kernel.caller import SYSTEM
from hansa.kernel.commands import deadline_in, submit
from hansa.kernel.deliveries import MACHINE_TROUBLE
from hansa.kernel.due import COLUMNS, DueRow
from hansa.kernel.problems import Invalid, Problem
from hansa.kernel.relations import sql
from hansa.kernel.remote.calls import Unreachable
from hansa.kernel.remote.following import Follower
from hansa.kernel.remote.placement import Entry
from hansa.kernel.remote.releases import heard, terse
from hansa.kernel.schedule import from_us
from hansa.kernel.service import Schedule
from hansa.kernel.site import SiteInfo
from hansa.kernel.storage import PLATFORM, Session
from hansa.kernel.structs import Struct

if TYPE_CHECKING:
    from hansa.kernel.remote.calls import Remote
    from hansa.kernel.runtime import Runtime

T = TypeVar("T")

logger = logging.getLogger("hansa.remote")

PATH: Final = "/_hansa/clock"
ANSWER_S: Final = 60.0
AGAIN_S: Final = (0.0, 0.02, 0.1)
TROUBLE_S: Final = 0.5

_MAKE: Final = """INSERT INTO hansa_clocks (site, now_us, target_us, ticked_us)
VALUES (?1, ?2, ?2, ?3) ON CONFLICT (site) DO NOTHING"""
_RISE: Final = "UPDATE hansa_clocks SET target_us = ?2 WHERE site = ?1 AND target_us < ?2"
_ROW: Final = f"""SELECT {COLUMNS}, ready_at_us, holder, lease_until_us FROM hansa_due
WHERE site = ?1 AND id = ?2 AND run_at_us = ?3 AND state = 'waiting'"""


class Ask(Struct):
    """A question of the keeper. `look`: what is due up to `at_us`, by a clock that stands at
    `now_us` and whose schedules have run up to `ticked_us`? `reach`: go to `at_us`. `do`: do the
    row of `at_us`. `rest`: hear and deliver all that has happened."""

    verb: Literal["look", "reach", "do", "rest"]
    site: str
    at_us: int = 0
    now_us: int = 0
    ticked_us: int = 0
    row: str = ""


class Told(Struct):
    """An answer: the next instant of a schedule; the next due row, by whose handler; whether a row
    may have emitted; the last position of the site's slot."""

    tick_us: int | None = None
    run_at_us: int | None = None
    row: str = ""
    service: str = ""
    emitted: bool = False
    position: int = 0


class Clocks:
    """The test clocks as one process sees them; the keeper's also moves them."""

    def __init__(self, runtime: "Runtime", remote: "Remote", followers: Sequence[Follower]) -> None:
        self._runtime = runtime
        self._remote = remote
        self._followers = followers

    def _entries(self, site: SiteInfo) -> list[Entry]:
        """Return who serves a site, this process at last."""
        own, placement = self._remote.own, self._remote.placement
        names = {name for entry in placement.entries for name in entry.services}
        found = {placement.of(name, site.cell) for name in names} - {None, own}
        return [*sorted((one for one in found if one is not None), key=lambda one: one.name), own]

    def _cells(self, site: SiteInfo) -> list[Entry]:
        """Return one entry of each cell that serves a site, this process at last."""
        by_cell = {entry.cell: entry for entry in self._entries(site)}
        own = by_cell.pop(self._remote.own.cell)
        return [*by_cell.values(), own]

    # ---- what the keeper asks

    async def respond(self, body: bytes) -> Answer:
        """Answer the keeper. Raises Problem."""
        try:
            ask: Ask = codec.decode(body, Ask)
        except msgspec.MsgspecError as error:
            raise Invalid(f"That is no question about a clock: {error}.") from None
        return Answer(200, codec.encode(await self._answer(ask)))

    async def _answer(self, ask: Ask) -> Told:
        site = await self._runtime.site(ask.site)
        if ask.verb == "look":
            return await self._look(site, ask)
        if ask.verb == "reach":
            return await self._reach(site, ask.at_us)
        if ask.verb == "do":
            return await self._do(site, ask)
        return await self._rest(site)

    async def _look(self, site: SiteInfo, ask: Ask) -> Told:
        async def body(session: Session) -> Told:
            await session.run(sql(session, _MAKE), (site.id, ask.now_us, ask.ticked_us))
            ticked_us = (await session.fetch(sql(session, CLOCK), (site.id,)))[0][2]
            tick_us, _ = advance.next_tick(self._schedules(), site, ticked_us, ask.at_us)
            row = await advance.next_row(session, site, ask.at_us)
            if row is None:
                return Told(tick_us)
            return Told(tick_us, row.run_at_us, row.id, _service_of(row.name))

        return await self._submit(site, body)

    def _schedules(self) -> dict[str, Schedule]:
        """Return the schedules of this cell, whichever of its processes runs them."""
        here = self._remote.placement.services_of(self._remote.own.cell)
        return {
            schedule.name: schedule
            for service in self._runtime.services
            if service.name in here
            for schedule in service.schedules
        }

    async def _reach(self, site: SiteInfo, at_us: int) -> Told:
        """Go to an instant, with the rows of the schedules that fall on it."""
        runtime = self._runtime

        async def body(session: Session) -> Told:
            rows = await session.fetch(sql(session, CLOCK), (site.id,))
            now_us, target_us, ticked_us, holder, until_us = rows[0]
            tick_us, due = advance.next_tick(self._schedules(), site, ticked_us, at_us)
            if tick_us is not None:
                await advance.write_ticks(runtime, site, session, due, now_us)
            if at_us >= target_us:
                await session.run(sql(session, _RISE), (site.id, at_us))
                holder, until_us = "", 0  # it has arrived, as far as is known here
            reached = (site.id, max(now_us, at_us), max(ticked_us, at_us), holder, until_us)
            await session.run(sql(session, MOVE), reached)
            return Told()

        return await self._submit(site, body)

    async def _do(self, site: SiteInfo, ask: Ask) -> Told:
        """Do a row that is due at this instant, unless that was done before."""
        runtime = self._runtime
        row: DueRow | None = None

        async def body(session: Session) -> Stop | None:
            nonlocal row
            row = None
            found = await session.fetch(sql(session, _ROW), (site.id, ask.row, ask.at_us))
            if not found:
                return Stop(arrived=False, emitted=True)
            *values, ready_at_us, holder, until_us = found[0]
            if ready_at_us is not None:
                held = holder == advance.holder_of(site) and runtime.clock.now_us() < until_us
                return None if held else Stop(arrived=False, emitted=True)
            row = DueRow(*values)
            now_us: int = (await session.fetch(sql(session, CLOCK), (site.id,)))[0][0]
            return await advance.perform(runtime, site, session, row, max(now_us, row.run_at_us))

        while True:
            try:
                stop = await self._submit(site, body)
            except MACHINE_TROUBLE:
                raise
            except Exception as error:
                if row is None:
                    raise
                await advance.put_off(runtime, site, row, error, moves=False)
                return Told(emitted=True)
            if stop is None:  # who asked before was not answered, and it is still being done
                await asyncio.sleep(LOOK_S)
                continue
            if stop.held is not None:
                await runtime.due.run(stop.held, advance.holder_of(site))
                runtime.due.wake()
            return Told(emitted=stop.emitted)

    async def _rest(self, site: SiteInfo) -> Told:
        for one in self._followers:
            await one.catch_up()
        await self._runtime.dispatcher.rest(site.slot)
        return Told(position=await self._runtime.dispatcher.last(site.slot))

    async def _submit(self, site: SiteInfo, body: Callable[[Session], Awaitable[T]]) -> T:
        """Run one of the transactions of an advance, of which a site has one at a time."""
        run = advance.run_for(site, "kernel.advance")
        done: T = (await submit(self._runtime, run, body)).value
        return done

    # ---- what a new cell of a site does

    async def join(self, site: str, now_us: int, ticked_us: int) -> None:
        """Make this cell's copy of a clock, before anything of the site happens here."""

        async def body(session: Session) -> None:
            await session.run(sql(session, _MAKE), (site, now_us, ticked_us))

        await self._runtime.storage.write(body, site=site, deadline=deadline_in(10))

    # ---- the keeper

    async def arrive(self, site: SiteInfo) -> datetime:
        """Move a clock to where it was aimed (see `advance.arrive`). A process that is away is
        waited for. Raises Problem for what is refused."""
        rests = False
        while True:
            try:
                if not rests:
                    await self._all_rest(site)
                    rests = True
                now_us, target_us, ticked_us = await self._take(site)
                if now_us == target_us:
                    return from_us(now_us)
                rests = await self._stop(site, now_us, target_us, ticked_us)
            except ClockElsewhere:
                await asyncio.sleep(LOOK_S)
            except Problem as problem:
                if problem.status < 500:
                    raise
                logger.warning("the test clock of %s waits: %s", site.id, problem)
                rests = False
                await asyncio.sleep(TROUBLE_S)

    async def _take(self, site: SiteInfo) -> tuple[int, int, int]:
        """Keep the clock in hand; return where it stands, where it goes, and up to where its
        schedules have run. Raises ClockElsewhere."""
        runtime = self._runtime

        async def body(session: Session) -> tuple[int, int, int]:
            rows = await session.fetch(sql(session, CLOCK), (site.id,))
            now_us, target_us, ticked_us, holder, until_us = rows[0]
            if now_us != target_us:
                advance.check_holder(runtime, holder, until_us)
                await advance.move(runtime, site, session, now_us, ticked_us)
            return now_us, target_us, ticked_us

        return await self._submit(site, body)

    async def _stop(self, site: SiteInfo, now_us: int, target_us: int, ticked_us: int) -> bool:
        """Go to the next instant at which something is due in any cell, and do one thing there;
        tell whether all is still at rest."""
        look = Ask("look", site.id, target_us, now_us, ticked_us)
        cells = self._cells(site)
        seen = await asyncio.gather(*(self._ask(entry, look) for entry in cells))
        ticks = [one.tick_us for one in seen if one.tick_us is not None]
        rows = [
            (told.run_at_us, told.row, place)
            for place, told in enumerate(seen)
            if told.run_at_us is not None
        ]
        tick_us, row = min(ticks, default=None), min(rows, default=None)
        if row is None or (tick_us is not None and tick_us <= row[0]):
            # The rows of the instant come first into the tables, then they are taken in order.
            await self._all_reach(site, target_us if tick_us is None else tick_us)
            return True
        run_at_us, id, place = row
        if run_at_us > now_us:
            await self._all_reach(site, run_at_us)
        cell = cells[place]
        entry = self._remote.placement.of(seen[place].service, site.cell)
        if entry is None or entry.cell != cell.cell:
            entry = cell  # what is sent from there to another cell
        told = await self._ask(entry, Ask("do", site.id, run_at_us, row=id))
        return not told.emitted

    async def _all_reach(self, site: SiteInfo, at_us: int) -> None:
        """Have all cells reach an instant, the keeper's own at last: until then it begins again
        from where it was."""
        ask = Ask("reach", site.id, at_us)
        *others, own = self._cells(site)
        await asyncio.gather(*(self._ask(entry, ask) for entry in others))
        await self._ask(own, ask)

    async def _all_rest(self, site: SiteInfo) -> None:
        """Return when everywhere all events have been heard and delivered, and what came of them:
        when a round over all processes has found nothing new."""
        ask = Ask("rest", site.id)
        before: list[int] = []
        while True:
            entries = self._entries(site)
            seen = await asyncio.gather(*(self._ask(entry, ask) for entry in entries))
            positions = [one.position for one in seen]
            if positions == before:
                return
            before = positions

    async def _ask(self, entry: Entry, ask: Ask) -> Told:
        """Ask a process of an entry, or this one. Raises Problem."""
        if entry is self._remote.own:
            return await self._answer(ask)
        body = codec.encode(terse(ask))
        for pause_s in AGAIN_S:  # it may be asked again, however often that was done lately
            with suppress(Unreachable):
                return await self._send(entry, body)
            await asyncio.sleep(pause_s)
        return await self._send(entry, body)

    async def _send(self, entry: Entry, body: bytes) -> Told:
        more = f"hansa-passport: {self._remote.passport(SYSTEM, PLATFORM, PATH, True)}\r\n"
        end = machine.monotonic() + ANSWER_S
        told: Told = heard((await self._remote.ask(entry, PATH, more, body, end)).body, Told)
        return told


def _service_of(name: str) -> str:
    """Return the service whose due work has a name."""
    if actions.is_resume(name):
        return name.removeprefix(actions.RESUME)
    return name.partition(".")[0]
