"""Sessions: what a command or a query runs its statements through."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from hansa.kernel import machine
from hansa.kernel.observe.statements import Statements
from hansa.kernel.postgres.errors import is_conflict, is_lost, translate
from hansa.kernel.postgres.link import RECOVER_S, Link, State, entered, left, settings_of
from hansa.kernel.postgres.pool import Pool
from hansa.kernel.storage import Dialect, Row
from hansa.kernel.trampoline import Wait

T = TypeVar("T")

holding: Final[ContextVar[bool]] = ContextVar("holding", default=False)
"""Whether the code that runs is inside of a query that holds a connection."""

_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "


class Again(BaseException):
    """The query has to begin again from the start. Not an Exception: no handler may catch it."""


class WriteSession:
    """What a command reads and writes through, on a connection that is in its transaction."""

    __slots__ = ("_ended", "_link", "_state", "_statements", "deadline", "failure", "position",
                 "residence")  # fmt: skip

    dialect: Dialect = "postgresql"

    def __init__(self, link: Link, state: State, deadline: float, statements: Statements) -> None:
        self._statements = statements
        self._link = link
        self._state = state
        self._ended = False
        self.deadline = deadline
        self.position = 0
        self.residence: str | None = None
        self.failure: Exception | None = None
        """What a statement failed with first: PostgreSQL commits nothing after it."""

    async def fetch(self, sql: str, args: Sequence[Any] = ()) -> Sequence[Row]:
        """Run one statement and return its rows (see `storage.Session`)."""
        began = machine.monotonic()
        rows = await self._wait(self._link.rows(sql, args, self._rest()), sql, began)
        if self._statements.noted:
            self._statements.note(sql, began, machine.monotonic(), len(rows))
        return rows

    async def run(self, sql: str, args: Sequence[Any] = ()) -> int:
        """Run one statement and return how many rows it changed (see `storage.Session`)."""
        began = machine.monotonic()
        changed = await self._wait(self._link.count(sql, args, self._rest()), sql, began)
        if self._statements.noted:
            self._statements.note(sql, began, machine.monotonic(), changed)
        return changed

    async def enter_site(self, site: str) -> None:
        """Let row security pass another site, or every one, to the end of the transaction."""
        self._state = entered(self._state, site)
        entering = settings_of(self._state, local=True)
        began = machine.monotonic()
        await self._wait(self._link.script(entering, self._rest()), entering, began)

    def end(self) -> None:
        """Refuse every further statement."""
        self._ended = True

    def _rest(self) -> float:
        if self._ended:
            raise RuntimeError("this command's transaction has ended; its session was kept")
        return left(self.deadline)

    async def _wait(self, call: Awaitable[T], sql: str, began: float) -> T:
        try:
            return await Wait[T](call)
        except Exception as error:
            self.failure = self.failure or error
            told = translate(error)
            self._statements.failed(sql, began, told)
            if told is error:
                raise
            raise told from error


class ReadSession:
    """What a query reads through.

    With `snapshot` all statements see one snapshot, on one connection. Without, there may be one
    statement, which is a snapshot by itself; it holds a connection only while it runs. A second one
    has the query begin again.
    """

    __slots__ = ("_ended", "_link", "_nested", "_pool", "_spent", "_state", "_statements", "_turn",
                 "again", "deadline", "position", "residence", "snapshot")  # fmt: skip

    dialect: Dialect = "postgresql"

    def __init__(
        self, pool: Pool, state: State, deadline: float, snapshot: bool, statements: Statements
    ) -> None:
        self._statements = statements
        self._pool = pool
        self._state = state
        self._nested = holding.get()
        self._ended = False
        self._spent = False
        self._link: Link | None = None
        self._turn = asyncio.Lock() if snapshot else None
        self.deadline = deadline
        self.position = 0
        self.residence: str | None = None
        self.snapshot = snapshot
        self.again: BaseException | None = None
        """Why the query has to begin again, whatever its handler made of it."""

    async def fetch(self, sql: str, args: Sequence[Any] = ()) -> Sequence[Row]:
        """Run one statement and return its rows (see `storage.Session`)."""
        self._refuse_ended()
        began = machine.monotonic()
        try:
            if self._turn is None:
                rows = await self._alone(sql, args)
            else:
                async with self._turn:
                    link = await self._held()
                    rows = await link.rows(sql, args, left(self.deadline))
        except Exception as error:
            self._statements.failed(sql, began, error)
            raise self._told(error) from error
        if self._statements.noted:
            self._statements.note(sql, began, machine.monotonic(), len(rows))
        return rows

    async def run(self, sql: str, args: Sequence[Any] = ()) -> int:
        """Refuse: a query only reads."""
        raise TypeError("a query only reads; declare a command to write")

    async def enter_site(self, site: str) -> None:
        """Let row security pass another site, or every one, from here on."""
        self._refuse_ended()
        state = entered(self._state, site)
        if self._turn is None:
            if self._spent:
                self._need_snapshot()
            self._state = state
            return
        try:
            async with self._turn:
                if self._link is not None:
                    await self._link.script(settings_of(state, local=True), left(self.deadline))
                self._state = state
        except Exception as error:
            raise self._told(error) from error

    async def _alone(self, sql: str, args: Sequence[Any]) -> Sequence[Row]:
        if self._spent:
            self._need_snapshot()
        self._spent = True
        pool, state = self._pool, self._state
        link = await pool.take(state, self.deadline, holding=self._nested)
        try:
            if link.state != state:
                await link.enter(state, self.deadline)
            rows = await link.rows(sql, args, left(self.deadline))
        except BaseException as error:
            pool.give_failed(link, error)
            raise
        pool.give(link)
        return rows

    def _told(self, error: Exception) -> BaseException:
        """Return what the query gets to see of an error."""
        if is_lost(error) or is_conflict(error):
            self.again = error
            return Again()
        return translate(error)

    def _need_snapshot(self) -> None:
        self.again = Again("a second statement")
        raise self.again

    async def _held(self) -> Link:
        """Return the connection with the snapshot, which begins with the first statement."""
        self._refuse_ended()
        if self._link is not None:
            return self._link
        link = await self._pool.take(self._state, self.deadline, holding=self._nested)
        try:
            begin = _SNAPSHOT + settings_of(self._state, local=True)
            await link.script(begin, left(self.deadline))
            self._refuse_ended()
        except BaseException:
            self._pool.reclaim(link)
            raise
        self._link = link
        return link

    def _refuse_ended(self) -> None:
        if self._ended:
            raise RuntimeError("this query has ended; its session was kept beyond it")

    async def end(self, *, broken: bool = False) -> None:
        """End the snapshot and return the connection; `broken` when there is no time to wait."""
        self._ended = True
        link, self._link = self._link, None
        if link is None:
            return
        busy = self._turn is not None and self._turn.locked()
        if broken or busy or link.closed:
            self._pool.reclaim(link)
            return
        try:
            await link.script("COMMIT", RECOVER_S)
        except BaseException as error:
            self._pool.reclaim(link)
            if not isinstance(error, Exception):
                raise
        else:
            self._pool.give(link)
