"""Advance: moving a site's test clock, so that ten years of business pass in seconds.

The clock stops at every instant at which something is due, in the order (run_at, id), does it, and
runs all events to rest before it goes on, over all services. Each stop is one transaction that
moves the clock, takes the row and has the effects, so a crash resumes where it was; and one step of
a year makes the same rows as 365 steps of a day.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hansa.kernel import due
from hansa.kernel.caller import SYSTEM
from hansa.kernel.commands import deadline_in, leave, submit, work_in
from hansa.kernel.context import Context
from hansa.kernel.deliveries import MACHINE_TROUBLE, after_failure, error_text
from hansa.kernel.due import COLUMNS, DueRow
from hansa.kernel.outbox import Outbox, Scheduled
from hansa.kernel.problems import Conflict, Invalid
from hansa.kernel.relations import sql
from hansa.kernel.run import Run
from hansa.kernel.schedule import from_us, to_us
from hansa.kernel.site import SiteInfo
from hansa.kernel.storage import PLATFORM, Session
from hansa.kernel.ticks import tick_row

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime
    from hansa.kernel.service import Schedule

logger = logging.getLogger("hansa.advance")

ADVANCE_MAX_S = 10 * 366 * 86_400
"""How far one call may move a clock: ten years."""

LEASE_S = 60.0
"""How long a process that moves a clock may be silent before another goes on with it."""
LOOK_S = 0.2

CLOCK = """SELECT now_us, target_us, ticked_us, holder, lease_until_us FROM hansa_clocks
WHERE site = ?1"""
_AIM = "UPDATE hansa_clocks SET target_us = ?2 WHERE site = ?1"
MOVE = """UPDATE hansa_clocks SET now_us = ?2, ticked_us = ?3, holder = ?4, lease_until_us = ?5
WHERE site = ?1"""
_NEXT = f"""SELECT {COLUMNS} FROM hansa_due
WHERE site = ?1 AND ready_at_us IS NULL AND state = 'waiting' AND run_at_us <= ?2
ORDER BY run_at_us, id%s LIMIT 1"""
_BYTEWISE = {"sqlite": "", "postgresql": ' COLLATE "C"'}
"""Both engines take rows of one instant in the same order, whatever language the server speaks."""
_TAKE = "DELETE FROM hansa_due WHERE site = ?1 AND id = ?2 AND ready_at_us IS NULL"
_LATER = """UPDATE hansa_due SET ready_at_us = ?3, attempt = ?4, state = ?5, error = ?6
WHERE site = ?1 AND id = ?2"""
_HOLD = """UPDATE hansa_due SET ready_at_us = ?3, holder = ?4, lease_until_us = ?5
WHERE site = ?1 AND id = ?2 AND ready_at_us IS NULL"""
_MOVING = "SELECT site FROM hansa_clocks WHERE target_us > now_us"


class ClockElsewhere(Exception):
    """Another process moves the clock."""


@dataclass(frozen=True, slots=True)
class Stop:
    """What one transaction of an advance did."""

    arrived: bool
    emitted: bool
    held: DueRow | None = None  # a scheduled operation, which is a transaction of its own


async def aim(runtime: "Runtime", site: SiteInfo, to: datetime) -> None:
    """Write down where a test clock is to go. Raises Conflict and Invalid."""
    if not site.test_clock:
        raise Conflict(
            "This site is on the real clock; make a site with a test clock to move time.",
            slug="no-test-clock",
        )
    if not runtime.is_whole and runtime.clocks is None:
        raise Conflict("This process does not know where the others are.", slug="split-test-clock")
    target_us = to_us(to)

    async def body(session: Session) -> None:
        rows = await session.fetch(sql(session, CLOCK), (site.id,))
        now_us, aimed_us = rows[0][:2]
        if aimed_us > now_us and aimed_us != target_us:
            raise Conflict(f"The clock is on its way to {from_us(aimed_us).isoformat()}.")
        if target_us < now_us:
            raise Invalid(f"The clock stands at {from_us(now_us).isoformat()} and cannot go back.")
        if target_us - now_us > ADVANCE_MAX_S * 1_000_000:
            raise Invalid("A clock moves at most ten years at a time.")
        await session.run(sql(session, _AIM), (site.id, target_us))

    await submit(runtime, run_for(site, "kernel.aim"), body)


async def arrive(runtime: "Runtime", site: SiteInfo) -> datetime:
    """Move a clock to where it was aimed, stop by stop, and return where it stands. While another
    process does so it only looks on: two would run what is due out of its order. Where services are
    in several processes see `remote.clocks`."""
    if runtime.clocks is not None:
        return await runtime.clocks.arrive(site)
    await runtime.dispatcher.rest(site.slot)
    while True:
        try:
            stop = await _stop(runtime, site)
        except ClockElsewhere:
            await asyncio.sleep(LOOK_S)
            continue
        if stop.held is not None:
            await runtime.due.run(stop.held, holder_of(site))
            runtime.due.wake()
        if stop.emitted:
            await runtime.dispatcher.rest(site.slot)
        if stop.arrived:
            return from_us((await read_clock(runtime, site))[0])


async def resume(runtime: "Runtime") -> None:
    """Go on with clocks that a dead process left on their way."""

    async def body(session: Session) -> list[str]:
        return [row[0] for row in await session.fetch(_MOVING)]

    moving = await runtime.storage.read(
        body, site=PLATFORM, deadline=deadline_in(30), across=True, shape="moving"
    )
    for site in moving:
        logger.info("going on with the test clock of %s", site)
        await runtime.advancing(await runtime.site(site))


def run_for(site: SiteInfo, cause: str, **more: Any) -> Run:
    """Return as what a transaction of an advance runs: one at a time for a site."""
    return Run(
        site, SYSTEM, cause, "kernel", "", deadline_in(due.DEADLINE_S),
        serial_by=f"clock@{site.id}", **more,
    )  # fmt: skip


async def read_clock(runtime: "Runtime", site: SiteInfo) -> tuple[int, int, int]:
    """Return where a clock stands, where it is going, and up to where its schedules have run."""

    async def body(session: Session) -> tuple[int, int, int]:
        rows = await session.fetch(sql(session, CLOCK), (site.id,))
        return rows[0][0], rows[0][1], rows[0][2]

    return await runtime.storage.read(body, site=site.id, deadline=deadline_in(30))


async def next_row(session: Session, site: SiteInfo, until_us: int) -> DueRow | None:
    """Return what is due next on a site's clock, None where nothing is before an instant."""
    found = await session.fetch(
        sql(session, _NEXT % _BYTEWISE[session.dialect]), (site.id, until_us)
    )
    return DueRow(*found[0]) if found else None


async def _stop(runtime: "Runtime", site: SiteInfo) -> Stop:
    """Go to the next instant at which something is due, and do one thing there."""

    row: DueRow | None = None

    async def body(session: Session) -> Stop:
        nonlocal row
        rows = await session.fetch(sql(session, CLOCK), (site.id,))
        now_us, target_us, ticked_us, holder, lease_until_us = rows[0]
        if now_us == target_us:
            return Stop(arrived=True, emitted=False)
        check_holder(runtime, holder, lease_until_us)
        row = await next_row(session, site, target_us)
        tick_us, rows_of_tick = next_tick(runtime.schedules, site, ticked_us, target_us)
        if tick_us is not None and (row is None or tick_us <= row.run_at_us):
            # The rows of the instant come first into the table, then they are taken in order.
            await write_ticks(runtime, site, session, rows_of_tick, now_us)
            await move(runtime, site, session, now_us, tick_us)
            return Stop(arrived=False, emitted=False)
        if row is None:
            await session.run(sql(session, MOVE), (site.id, target_us, target_us, "", 0))
            return Stop(arrived=True, emitted=False)
        at_us = max(now_us, row.run_at_us)
        await move(runtime, site, session, at_us, ticked_us)
        return await perform(runtime, site, session, row, at_us)

    try:
        stop: Stop = (await submit(runtime, run_for(site, "kernel.advance"), body)).value
        return stop
    except (*MACHINE_TROUBLE, ClockElsewhere):
        raise
    except Exception as error:
        if row is None:
            raise
        await put_off(runtime, site, row, error)
        return Stop(arrived=False, emitted=True)


def check_holder(runtime: "Runtime", holder: str, lease_until_us: int) -> None:
    """Raise ClockElsewhere where another process has the clock in hand. One process owns a SQLite
    file, so whoever had it there is dead."""
    alone = runtime.storage.poll_s is None or holder in ("", runtime.holder)
    if not alone and runtime.clock.now_us() < lease_until_us:
        raise ClockElsewhere(holder)


async def move(
    runtime: "Runtime", site: SiteInfo, session: Session, now_us: int, ticked_us: int
) -> None:
    """Move a clock on its way, and keep it in hand."""
    until_us = runtime.clock.now_us() + int(LEASE_S * 1_000_000)
    await session.run(sql(session, MOVE), (site.id, now_us, ticked_us, runtime.holder, until_us))


def next_tick(
    schedules: Mapping[str, "Schedule"], site: SiteInfo, ticked_us: int, target_us: int
) -> tuple[int | None, list[Scheduled]]:
    """Return the next instant of any schedule, and the due rows of it."""
    coming: dict[str, int] = {}
    for schedule in schedules.values():
        if schedule.scope == "site":
            at_us = schedule.cron.next_us(ticked_us, site.zone)
            if at_us is not None and at_us <= target_us:
                coming[schedule.name] = at_us
    if not coming:
        return None, []
    tick_us = min(coming.values())
    return tick_us, [
        tick_row(schedules[name], site, tick_us, test_clock=True)
        for name, at_us in sorted(coming.items())
        if at_us == tick_us
    ]


async def write_ticks(
    runtime: "Runtime", site: SiteInfo, session: Session, rows: list[Scheduled], now_us: int
) -> None:
    """Write the due rows of an instant of schedules."""
    machine_us = runtime.clock.now_us()
    run = run_for(site, "kernel.advance")
    await leave(runtime, run, session, Outbox(due=rows), now_us, machine_us)


async def perform(
    runtime: "Runtime", site: SiteInfo, session: Session, row: DueRow, at_us: int
) -> Stop:
    """Take a row at its instant and do it, or claim it where it is a scheduled operation."""
    if row.name not in runtime.due_work:
        await _hold(runtime, site, session, row)
        return Stop(arrived=False, emitted=True, held=row)
    await session.run(sql(session, _TAKE), (site.id, row.id))
    return Stop(False, await _do(runtime, site, session, row, at_us))


async def _do(
    runtime: "Runtime", site: SiteInfo, session: Session, row: DueRow, at_us: int
) -> bool:
    """Run a row's handler at its instant; tell whether it may have emitted."""
    work = runtime.due_work[row.name]
    run = Run(
        site, SYSTEM, row.name, work.service, row.trace, deadline_in(due.DEADLINE_S),
        due_at_us=row.run_at_us, now_us=at_us, trigger=row.id,
    )  # fmt: skip
    arguments = runtime.stored.due_arguments(work, row)

    async def handle(context: Context) -> bool:
        await work.fn(context, **arguments)
        return context.has_emitted

    return await work_in(runtime, run, session, handle)


async def _hold(runtime: "Runtime", site: SiteInfo, session: Session, row: DueRow) -> None:
    """Claim a scheduled operation by the machine's time: it runs right behind this transaction,
    and when the process dies in between, the lease brings it to whoever comes next."""
    ready_us = runtime.clock.now_us()
    until_us = ready_us + int(due.LEASE_S * 1_000_000)
    arguments = (site.id, row.id, ready_us, holder_of(site), until_us)
    await session.run(sql(session, _HOLD), arguments)


def holder_of(site: SiteInfo) -> str:
    """Return who holds a scheduled operation that runs right behind its instant."""
    return f"clock@{site.id}"


async def put_off(
    runtime: "Runtime", site: SiteInfo, row: DueRow, error: BaseException, *, moves: bool = True
) -> None:
    """Move the clock to where the row failed, unless it `moves` from elsewhere, and leave the row
    to the machine's time."""
    work = runtime.due_work.get(row.name)
    backoff_s = work.backoff_s if work else (1.0,)
    machine_us = runtime.clock.now_us()
    state, attempt, ready_us = after_failure(error, row.attempt, machine_us, backoff_s)
    text = error_text(error)
    logger.warning("due work %s %s failed at its instant: %r", row.name, row.id, error)

    async def body(session: Session) -> None:
        if moves:
            now_us, _, ticked_us, _, _ = (await session.fetch(sql(session, CLOCK), (site.id,)))[0]
            await move(runtime, site, session, max(now_us, row.run_at_us), ticked_us)
        await session.run(sql(session, _LATER), (site.id, row.id, ready_us, attempt, state, text))

    await submit(runtime, run_for(site, "kernel.advance"), body)
    runtime.due.wake()


async def gather_advances(tasks: dict[str, "asyncio.Task[datetime]"]) -> None:
    """Stop the advances under way; they resume when the process starts again."""
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
