"""Pool: a few connections, each remembering for which site it was set last.

asyncpg's own pool resets a connection at each return, which costs a round trip and forgets the
site; here a connection is handed out again as it is, by preference for the same site, and whoever
takes it sets it before the first statement.
"""

import asyncio
import time
from typing import Any

import asyncpg

from hansa.kernel.postgres.errors import translate
from hansa.kernel.problems import Overloaded, StorageFailed

_SETTINGS = {
    "application_name": "hansa",
    "jit": "off",
    # A sequential scan in a serializable transaction locks the whole table against every insert
    # (PostgreSQL 15, 13.2.3); small tables would be read that way.
    "enable_seqscan": "off",
}

State = tuple[str, bool]
"""The site, and whether row security is lifted across sites."""


class Link:
    """One connection and the state that its session is in."""

    __slots__ = ("connection", "state")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.state: State = ("", False)

    async def enter(self, state: State, timeout_s: float) -> None:
        """Set the session's site; nothing to do when it is the one already."""
        if self.state == state:
            return
        # Cleared first: if the call fails half-way nobody may believe the old state.
        self.state = ("?", False)
        await self.connection.fetch(
            "SELECT set_config('hansa.site', $1, false), set_config('hansa.across', $2, false)",
            state[0],
            "on" if state[1] else "off",
            timeout=timeout_s,
        )
        self.state = state


class Pool:
    """At most `size` connections to one database."""

    def __init__(self, dsn: str, size: int) -> None:
        self._dsn = dsn
        self._size = size
        self._free: list[Link] = []
        self._room = asyncio.Semaphore(size)
        self._closed = False

    async def connect(self) -> Link:
        """Open a connection beside the pool. Raises StorageFailed."""
        try:
            connection = await asyncpg.connect(
                self._dsn,
                timeout=10,
                statement_cache_size=1024,
                max_cached_statement_lifetime=0,
                server_settings=_SETTINGS,
            )
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            raise StorageFailed(f"PostgreSQL cannot be reached: {error}.") from error
        return Link(connection)

    async def take(self, state: State, deadline: float) -> Link:
        """Return a connection, one of the same state if it is free. Raises Overloaded."""
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._room.acquire()
        except TimeoutError:
            raise Overloaded("No database connection was free in time.", retry_after_s=1) from None
        try:
            link = self._pick(state)
            if link is None or link.connection.is_closed():
                link = await self.connect()
            return link
        except BaseException:
            self._room.release()
            raise

    def _pick(self, state: State) -> Link | None:
        for place in range(len(self._free) - 1, -1, -1):
            if self._free[place].state == state:
                return self._free.pop(place)
        return self._free.pop() if self._free else None

    def give(self, link: Link, *, broken: bool = False) -> None:
        """Return a connection; a broken one is closed, and made anew when needed."""
        connection = link.connection
        if broken or self._closed or connection.is_closed() or connection.is_in_transaction():
            connection.terminate()
        else:
            self._free.append(link)
        self._room.release()

    async def close(self) -> None:
        """Wait for the connections in use, then close all."""
        self._closed = True
        for _ in range(self._size):
            await self._room.acquire()
        for link in self._free:
            try:
                await link.connection.close(timeout=5)
            except Exception as error:  # it is going away, one way or the other
                translate(error)
                link.connection.terminate()
        self._free.clear()
