"""Sessions: a transaction, or one snapshot, on a PostgreSQL connection."""

import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Any

from hansa.kernel.postgres.errors import translate
from hansa.kernel.postgres.pool import Link, Pool, State
from hansa.kernel.problems import DeadlineExceeded
from hansa.kernel.storage import Dialect, Row
from hansa.kernel.trampoline import Wait

logger = logging.getLogger("hansa.postgres")


class SnapshotNeeded(BaseException):
    """A read wants a second statement, so it must begin again on a snapshot. Not an Exception: no
    handler may catch it."""


def left(deadline: float) -> float:
    """Return the seconds until a deadline. Raises DeadlineExceeded when it is over."""
    rest = deadline - time.monotonic()
    if rest <= 0:
        raise DeadlineExceeded("The request's deadline is over; nothing was kept.")
    return rest


class WriteSession:
    """What a command reads and writes through."""

    __slots__ = ("_across", "_ended", "_link", "deadline", "failure", "position")

    dialect: Dialect = "postgresql"

    def __init__(self, link: Link, deadline: float, across: bool) -> None:
        self._link = link
        self._across = across
        self._ended = False
        self.deadline = deadline
        self.position = 0
        self.failure: BaseException | None = None
        """What a statement failed with: PostgreSQL commits nothing after it."""

    async def fetch(self, sql: str, args: Sequence[Any] = ()) -> Sequence[Row]:
        """Run one statement and return its rows (see `storage.Session`)."""
        call = self._link.connection.fetch(sql, *args, timeout=self._open())
        rows: Sequence[Row] = await self._wait(call)
        return rows

    async def run(self, sql: str, args: Sequence[Any] = ()) -> int:
        """Run one statement and return how many rows it changed (see `storage.Session`)."""
        call = self._link.connection.execute(sql, *args, timeout=self._open())
        tag: str = await self._wait(call)
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    async def enter_site(self, site: str) -> None:
        """Let row security pass another site from here on, to the end of the transaction."""
        call = self._link.connection.fetch(
            "SELECT set_config('hansa.site', $1, true)", site, timeout=self._open()
        )
        await self._wait(call)

    def end(self) -> None:
        """Refuse every further statement."""
        self._ended = True

    def _open(self) -> float:
        if self._ended:
            raise RuntimeError("this command's transaction has ended; its session was kept")
        return left(self.deadline)

    async def _wait(self, call: Awaitable[Any]) -> Any:
        try:
            return await Wait[Any](call)
        except Exception as error:
            self.failure = self.failure or error
            told = translate(error)
            if told is error:
                raise
            raise told from error


class ReadSession:
    """What a query reads through. `snapshot` says whether a transaction holds it all together."""

    __slots__ = (
        "_ended",
        "_pool",
        "_state",
        "deadline",
        "link",
        "position",
        "snapshot",
        "statements",
    )

    dialect: Dialect = "postgresql"

    def __init__(self, pool: Pool, state: State, deadline: float, snapshot: bool) -> None:
        self._pool = pool
        self._state = state
        self._ended = False
        self.deadline = deadline
        self.position = 0
        self.snapshot = snapshot
        self.link: Link | None = None
        self.statements = 0

    async def fetch(self, sql: str, args: Sequence[Any] = ()) -> Sequence[Row]:
        """Run one statement and return its rows (see `storage.Session`)."""
        try:
            link = await self._ready()
            rows: Sequence[Row] = await link.connection.fetch(
                sql, *args, timeout=left(self.deadline)
            )
            return rows
        except Exception as error:
            told = translate(error)
            if told is error:
                raise
            raise told from error

    async def run(self, sql: str, args: Sequence[Any] = ()) -> int:
        """Refuse: a query only reads."""
        raise TypeError("a query only reads; declare a command to write")

    async def enter_site(self, site: str) -> None:
        """Lift row security for a read across sites; it begins with a connection of that state."""
        if self.link is not None:
            raise TypeError("ask for ctx.across_sites before the first statement")
        self._state = (self._state[0], True)

    async def _ready(self) -> Link:
        if self._ended:
            raise RuntimeError("this query has ended; its session was kept beyond it")
        self.statements += 1
        if self.link is None:
            self.link = await self._pool.take(self._state, self.deadline)
            await self.link.enter(self._state, left(self.deadline))
            if self.snapshot:
                await self.link.connection.execute(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
                )
        elif not self.snapshot:
            raise SnapshotNeeded
        return self.link

    async def end(self, *, broken: bool) -> None:
        """End the snapshot and return the connection."""
        self._ended = True
        link, self.link = self.link, None
        if link is None:
            return
        try:
            if self.snapshot and not broken and not link.connection.is_closed():
                await link.connection.execute("COMMIT")
        except Exception:  # the read is over; only the connection is lost
            logger.info("a connection was lost at the end of a read")
            broken = True
        finally:
            self._pool.give(link, broken=broken)
