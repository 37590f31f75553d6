"""Pool: a few connections, each remembering for which site it was set last.

The driver's own pool resets a connection at each return, which costs a round trip and forgets the
site; here a connection is handed out again as it is, by preference for the same site, and whoever
takes it sets it before the first statement.
"""

import asyncio
import time

from hansa.kernel.postgres.errors import Lost, is_late, is_lost, late
from hansa.kernel.postgres.link import CONNECT_S, NOWHERE, Address, Link, State
from hansa.kernel.problems import Overloaded, StorageFailed
from hansa.kernel.shedding import Pressure
from hansa.kernel.turns import Turns


class Pool:
    """At most `size` connections to one database, and as many spare ones.

    A spare one is for whoever holds a connection already, a query inside of a query: if those
    waited in line too, all could wait for each other.
    """

    def __init__(self, address: Address, size: int, pressure: Pressure) -> None:
        self._pressure = pressure
        self._address = address
        self._size = size
        self._free: list[Link] = []  # the longest unused first
        self._room = size
        self._waiting: Turns[asyncio.Future[None]] = Turns()
        self._spares = 0
        self._closed = False
        self._recovering: set[asyncio.Task[None]] = set()

    async def take(self, state: State, deadline: float, *, holding: bool = False) -> Link:
        """Return a connection, one of the same state if it is free; who must wait does so by turns
        of the sites.

        Raises Overloaded when none was free in time, Lost, and StorageFailed.
        """
        if self._closed:
            raise StorageFailed("This cell has been closed.")
        if self._room:
            self._room -= 1
        elif holding:
            return await self._spare(deadline)
        else:
            await self._wait(state[0], deadline)
        try:
            link = self._pick(state)
            while link is not None and not link.idle:
                link.drop()
                link = self._pick(state)
            link = link or await self._connect(deadline)
        except BaseException:
            self._release()
            raise
        link.site, link.taken = state[0], time.monotonic()
        return link

    async def _wait(self, site: str, deadline: float) -> None:
        began = time.monotonic()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(site, turn)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await turn
            now = time.monotonic()
            self._pressure.waited(now - began, now)
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._release()  # the room came with the cancelling; it goes to the next
            if isinstance(error, TimeoutError):
                reason = "No database connection was free in time."
                raise Overloaded(reason, retry_after_s=1) from None
            raise

    def _release(self) -> None:
        """Give room to who has the next turn."""
        while (turn := self._waiting.take()) is not None:
            if not turn.done():
                turn.set_result(None)
                return
        self._room += 1

    async def _spare(self, deadline: float) -> Link:
        if self._spares >= self._size:
            raise Overloaded("Too many queries inside of queries at once.", retry_after_s=1)
        self._spares += 1
        try:
            link = await self._connect(deadline)
        except BaseException:
            self._spares -= 1
            raise
        link.spare = True
        return link

    async def _connect(self, deadline: float) -> Link:
        rest_s = deadline - time.monotonic()
        if rest_s <= 0:
            raise late()
        return await self._address.connect(min(CONNECT_S, rest_s))

    def _pick(self, state: State) -> Link | None:
        """Return a free connection: of the state, or else the one that is longest unused, so that
        busy sites keep theirs."""
        free = self._free
        for place in range(len(free) - 1, -1, -1):
            if free[place].state == state:
                return free.pop(place)
        return free.pop(0) if free else None

    def give(self, link: Link) -> None:
        """Return a connection after what ran on it has ended; one that is in any doubt is closed,
        and made anew when needed."""
        if link.spare:
            link.drop()
            self._spares -= 1
            return
        if link.idle:
            self._free.append(link)
        else:
            link.drop()
        self._waiting.charge(link.site, time.monotonic() - link.taken)
        self._release()

    def give_failed(self, link: Link, error: BaseException) -> None:
        """Return a connection after a statement failed on it."""
        if not isinstance(error, Exception) or is_late(error):
            self.reclaim(link)
            return
        if is_lost(error):  # the driver may not know it yet
            link.drop()
        self.give(link)

    def reclaim(self, link: Link) -> None:
        """Return a connection on which something was broken off: it is put right behind the
        caller's back, who has no time to wait for it."""
        if link.closed:
            self.give(link)
            return
        task = asyncio.create_task(self._recover(link))
        self._recovering.add(task)
        task.add_done_callback(self._recovering.discard)

    async def _recover(self, link: Link) -> None:
        sound = False
        try:
            sound = await link.recover()
        finally:
            if not sound:
                link.drop()
            self.give(link)

    async def check(self) -> Link:
        """Return a first connection, at once or not at all. Raises StorageFailed."""
        try:
            return await self.take(NOWHERE, time.monotonic() + CONNECT_S)
        except Lost as lost:
            raise StorageFailed(str(lost)) from lost

    async def close(self) -> None:
        """Refuse more, wait for the connections in use, then close all."""
        self._closed = True
        while self._recovering:
            await asyncio.wait(self._recovering)
        for _ in range(self._size):
            if self._room:
                self._room -= 1
            else:
                await self._wait("", float("inf"))
        for link in self._free:
            await link.close()
        self._free.clear()
