"""Dispatch: the loops that bring events of the log to the subscribers of this process.

One reader follows the log; a lane per (subscriber, slot) takes its events in order, lanes run side
by side. What is read here is only a hint of what to do: the transaction of a delivery looks again,
so any number of processes may follow the same log.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hansa.kernel import deliveries, log
from hansa.kernel.caller import SYSTEM
from hansa.kernel.commands import deadline_in, submit
from hansa.kernel.fence import CLOSED, LEFT, SiteMoving
from hansa.kernel.listening import Listening
from hansa.kernel.log import LogEvent
from hansa.kernel.relations import sql
from hansa.kernel.residence import NOT_AWAY
from hansa.kernel.run import Run
from hansa.kernel.site import PLATFORM_SITE
from hansa.kernel.storage import PLATFORM, Session

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime
    from hansa.kernel.service import Subscription

logger = logging.getLogger("hansa.dispatch")

READ_MAX = 512
BATCH_MAX = 64
PENDING_MAX = 8_192
FLOOR_EVERY = 4_096
GATHER_S = 0.01
TRYING_MAX = 16
"""Second tries at once."""
WAITING_MAX = 256
BEYOND_MAX = 16_384
"""Deliveries in mind that only a newer release can make; of more it is found out again."""
TROUBLE_S = (0.05, 0.2, 1.0, 5.0)

_FLOORS = "SELECT subscriber, floor FROM hansa_subscribers"
_CURSORS = "SELECT subscriber, slot, position FROM hansa_cursors"
_FLOOR = """UPDATE hansa_subscribers SET floor = ?2 WHERE subscriber = ?1"""
_SEEN = """INSERT INTO hansa_subscribers (subscriber, floor, seen_at_us) VALUES (?1, 0, ?2)
ON CONFLICT (subscriber) DO UPDATE SET seen_at_us = excluded.seen_at_us"""
_READY = (
    """SELECT subscriber, position, ready_at_us, attempt FROM hansa_deliveries
WHERE state = 'waiting' AND subscriber IN (%s)
"""
    + NOT_AWAY.format(table="hansa_deliveries")
    + " ORDER BY ready_at_us LIMIT %d"
)


@dataclass(slots=True, eq=False)
class Lane:
    """The events of one slot that one subscriber has yet to take, in order."""

    subscription: "Subscription"
    slot: int
    events: deque[LogEvent] = field(default_factory=deque[LogEvent])
    task: asyncio.Task[None] | None = None


class Dispatcher:
    """Follows the log for the subscribers of a process."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._by_type = runtime.subscriptions
        self._listening = [Listening(one) for one in runtime.listening]
        known = [one for several in self._by_type.values() for one in several]
        self._known = {one.name: one for one in (*known, *runtime.listening)}
        self._tails: dict[str, list[Callable[[LogEvent], None]]] = {}
        self._position = 0
        self._begun = 0
        self._floor_written = 0
        self._starts: dict[str, int] = {}
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._pending = 0
        self._awake = asyncio.Event()
        self._moved = asyncio.Event()
        self._retry_awake = asyncio.Event()
        self._trying = asyncio.Semaphore(TRYING_MAX)
        self._beyond: set[tuple[str, int]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    # ---- life

    def tail(self, type: str, heard: Callable[[LogEvent], None]) -> None:
        """Have each process be told of every event of a type from when it starts on, after its
        commit and besides all subscribers: for what a process has of its own, such as an index. It
        is a hint that costs no transaction; who is told by it alone what to do forgets it."""
        self._tails.setdefault(type, []).append(heard)

    async def start(self) -> None:
        """Find where each subscriber stands, and begin."""
        if not self._known and not self._tails:
            return
        floors, cursors = await self._runtime.storage.read(
            _standing, site=PLATFORM, deadline=deadline_in(30), across=True
        )
        names = set(self._known)
        for listening in self._listening:
            await listening.load(self._runtime)
        self._starts = {name: floors.get(name, 0) for name in names}
        self._begun = await self.last(None)
        self._position = min(self._starts.values(), default=self._begun)
        await self.announce()
        self._cursors = {(name, slot): position for name, slot, position in cursors}
        self._tasks = [asyncio.create_task(self._follow(), name="hansa-log")]
        if names:
            self._tasks.append(asyncio.create_task(self._retry(), name="hansa-retry"))

    async def announce(self) -> None:
        """Note that there are these subscribers: no event is pruned before they are past it. Of
        one that nobody has noted for long there is no code any more (see `pruning`)."""
        now_us = self._runtime.clock.now_us()
        run = Run(PLATFORM_SITE, SYSTEM, "kernel.floor", "kernel", "", deadline_in(30))

        async def body(session: Session) -> None:
            for name in sorted(self._starts):
                await session.run(sql(session, _SEEN), (name, now_us))

        if self._starts:
            await submit(self._runtime, run, body)

    async def stop(self) -> None:
        """Finish the batches under way and note how far every subscriber is."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        running = [lane.task for lane in self._lanes.values() if lane.task]
        await asyncio.gather(*self._tasks, *running, return_exceptions=True)
        if self._tasks and not self._pending:
            await self._write_floor()

    def wake(self) -> None:
        """Tell that there may be new events."""
        self._awake.set()

    def wake_retry(self) -> None:
        """Tell that a delivery waits for another try."""
        self._retry_awake.set()

    # ---- the log

    async def _follow(self) -> None:
        trouble = 0
        while not self._stopping:
            self._awake.clear()
            try:
                await self._runtime.storage.sequence()
                events = await self._runtime.storage.read(
                    lambda session: log.after(session, self._position, READ_MAX),
                    site=PLATFORM, deadline=deadline_in(30), across=True, shape="log",
                )  # fmt: skip
                trouble = 0
            except Exception:
                logger.exception("the log cannot be read; trying again")
                await asyncio.sleep(TROUBLE_S[min(trouble, len(TROUBLE_S) - 1)])
                trouble += 1
                continue
            for event in events:
                self._admit(event)
            self._moved.set()
            while self._pending >= PENDING_MAX:
                await self._progress()
            if not self._pending and self._position - self._floor_written >= FLOOR_EVERY:
                await self._write_floor()
            if len(events) < READ_MAX:
                await self._wait()

    async def _wait(self) -> None:
        """Sleep until woken; where other processes write the same log, look by itself as well."""
        poll_s = self._runtime.storage.poll_s
        if poll_s is None:
            await self._awake.wait()
            return
        try:
            async with asyncio.timeout(poll_s):
                await self._awake.wait()
        except TimeoutError:
            pass

    def _admit(self, event: LogEvent) -> None:
        self._position = event.position
        if event.position > self._begun:
            for heard in self._tails.get(event.type, ()):
                heard(event)
        for subscription in self._by_type.get(event.type, ()):
            self._enqueue(subscription, event)
        for listening in self._listening:
            if listening.hears(event):
                self._enqueue(listening.subscription, event)

    def _enqueue(self, subscription: "Subscription", event: LogEvent) -> None:
        key = (subscription.name, event.slot)
        done = max(self._starts[subscription.name], self._cursors.get(key, 0))
        if event.position <= done:
            return
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(subscription, event.slot)
        lane.events.append(event)
        self._pending += 1
        if lane.task is None:
            lane.task = asyncio.create_task(self._run(lane, key))

    async def _run(self, lane: Lane, key: tuple[str, int]) -> None:
        try:
            await self._empty(lane)
        finally:
            lane.task = None
            if not lane.events:
                self._lanes.pop(key, None)
            self._moved.set()

    async def _empty(self, lane: Lane) -> None:
        """Deliver what is in a lane, batch by batch, until there is nothing left."""
        trouble = 0
        while lane.events and not self._stopping:
            batch = _batch(lane.events)
            try:
                await self._deliver(lane.subscription, batch)
                trouble = 0
            except (deliveries.LaneBusy, SiteMoving):
                await asyncio.sleep(TROUBLE_S[0])
                continue
            except LEFT:
                if not await self._runtime.has_left(batch[0].site):
                    continue
                # Where the site is now, they are in the log as well.
            except Exception:
                logger.exception("%s cannot take events; trying again", lane.subscription.name)
                await asyncio.sleep(TROUBLE_S[min(trouble, len(TROUBLE_S) - 1)])
                trouble += 1
                continue
            for _ in batch:
                lane.events.popleft()
            self._pending -= len(batch)
            self._moved.set()

    async def _deliver(self, subscription: "Subscription", batch: list[LogEvent]) -> None:
        background, site = self._runtime.background, batch[0].site
        began = await background.begin(site)
        try:
            await deliveries.deliver(self._runtime, subscription, batch)
        finally:
            background.end(site, began)

    async def _progress(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    async def _write_floor(self) -> None:
        """Note that every subscriber has done all up to here: a start need not look back."""
        position = self._position
        run = Run(PLATFORM_SITE, SYSTEM, "kernel.floor", "kernel", "", deadline_in(30))

        async def body(session: Session) -> None:
            for name in self._starts:
                await session.run(sql(session, _FLOOR), (name, position))

        await submit(self._runtime, run, body)
        self._floor_written = position

    # ---- rest, for test clocks and tests

    async def rest(self, slot: int | None = None) -> None:
        """Return when every event committed before (of a slot), and all that its subscribers have
        emitted in turn, has been delivered or put aside."""
        if not self._known and not self._tails:
            return
        if not self._tasks:
            raise RuntimeError("no events run here: the runtime was started without background")
        reached = -1
        while (last := await self.last(slot)) != reached:
            while self._position < last or self._busy(slot):
                if self._position < last:
                    self._awake.set()
                await self._progress()
            reached = last

    async def last(self, slot: int | None) -> int:
        """Return the last position of the cell or of a slot."""
        await self._runtime.storage.sequence()
        return await self._runtime.storage.read(
            lambda session: log.last(session, slot),
            site=PLATFORM, deadline=deadline_in(30), across=True, shape="last",
        )  # fmt: skip

    def _busy(self, slot: int | None) -> bool:
        if slot is None:
            return bool(self._lanes)
        return any(lane.slot == slot for lane in self._lanes.values())

    # ---- second tries

    async def _retry(self) -> None:
        while not self._stopping:
            self._retry_awake.clear()
            wait_s = await self._retry_ready()
            try:
                async with asyncio.timeout(wait_s):
                    await self._retry_awake.wait()
            except TimeoutError:
                pass

    async def _retry_ready(self) -> float | None:
        """Try all that is ready; return in how many seconds to look again, None if when woken."""
        known = self._known
        limit = WAITING_MAX + len(self._beyond)
        try:
            found = await self._runtime.storage.read(
                lambda session: _waiting(session, sorted(known), limit),
                site=PLATFORM, deadline=deadline_in(30), across=True, shape="retry",
            )  # fmt: skip
        except Exception:
            logger.exception("deliveries cannot be tried again; trying later")
            return TROUBLE_S[-1]
        now_us = self._runtime.clock.now_us()
        rows = [row for row in found if (row[0], row[1]) not in self._beyond]
        ready = [row for row in rows if row[2] <= now_us]
        # Each is the head of its aggregate, so none of them must wait for another.
        done = [self._try_again(known[name], position, tried) for name, position, _, tried in ready]
        if ready and all(await asyncio.gather(*done)):
            self._retry_awake.set()
        if len(ready) < len(rows):
            return max(0.001, (rows[len(ready)][2] - now_us) / 1_000_000)
        if ready:
            return TROUBLE_S[-1]
        return self._runtime.storage.poll_s and 1.0

    async def _try_again(self, subscription: "Subscription", position: int, tried: int) -> bool:
        """Try one; tell whether at least what came of it could be noted."""
        try:
            async with self._trying:
                if not await deliveries.retry(self._runtime, subscription, position, tried):
                    self._leave(subscription.name, position)
        except CLOSED:
            return False
        except Exception:
            logger.exception("%s cannot be tried again at %d", subscription.name, position)
            return False
        return True

    def _leave(self, subscriber: str, position: int) -> None:
        """Leave a delivery to the processes of a newer release."""
        if len(self._beyond) >= BEYOND_MAX:
            self._beyond.clear()
        self._beyond.add((subscriber, position))


async def _standing(
    session: Session,
) -> tuple[dict[str, int], list[tuple[str, int, int]]]:
    floors = {row[0]: row[1] for row in await session.fetch(_FLOORS)}
    cursors = [(row[0], row[1], row[2]) for row in await session.fetch(_CURSORS)]
    return floors, cursors


async def _waiting(
    session: Session, names: list[str], limit: int
) -> list[tuple[str, int, int, int]]:
    """Return what waits at the subscribers of this process, the soonest first."""
    marks = ", ".join(f"?{number}" for number in range(1, len(names) + 1))
    rows = await session.fetch(sql(session, _READY % (marks, limit)), names)
    return [(row[0], row[1], row[2], row[3]) for row in rows]


def _batch(events: deque[LogEvent]) -> list[LogEvent]:
    """Return the next events of one site: a transaction is of one site."""
    site = events[0].site
    batch: list[LogEvent] = []
    for event in events:
        if event.site != site or len(batch) == BATCH_MAX:
            break
        batch.append(event)
    return batch
