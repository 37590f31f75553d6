"""Readers: the connections that queries read from, each on a snapshot of its own.

A query takes a reader with its first statement and keeps it, and what it sees, until it ends. Its
statements run on the event loop; one that holds the loop for INLINE_S is stopped and run again in
the reader's thread, and from then on its text starts there (see `pace`).
"""

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final

import apsw

from hansa.kernel import machine
from hansa.kernel.observe.statements import Statements
from hansa.kernel.problems import Overloaded
from hansa.kernel.shedding import Pressure
from hansa.kernel.sqlite.errors import late, translate
from hansa.kernel.sqlite.pace import INLINE_S, NOTE_S, SLOW_S, Pace
from hansa.kernel.sqlite.thread import Worker, Workers
from hansa.kernel.storage import Dialect, Row
from hansa.kernel.turns import Turns

STEPS_PER_TICK: Final = 2000
"""Instructions of SQLite's machine between two looks at the clock: some 0.05 ms."""


class Reader:
    """One connection for queries, with a thread for its slow statements."""

    __slots__ = ("busy", "connection", "execute", "lent", "site", "until", "worker")

    def __init__(self, connection: apsw.Connection, worker: Worker) -> None:
        self.connection = connection
        self.execute: Callable[..., Any] = connection.cursor().execute
        self.worker = worker
        self.until = 0.0
        self.site = ""
        self.lent = 0.0
        self.busy: asyncio.Future[Any] | None = None
        connection.set_progress_handler(self._over, STEPS_PER_TICK)

    def _over(self) -> bool:
        return machine.monotonic() > self.until

    def fetch_timed(self, sql: str, args: Sequence[Any]) -> tuple[list[Row], float]:
        """Run a statement in the thread; return its rows and the seconds that it took."""
        began = machine.monotonic()
        rows: list[Row] = self.execute(sql, args).fetchall()
        return rows, machine.monotonic() - began

    def rest(self, future: "asyncio.Future[Any]") -> None:
        """Be free again, now that the thread is done; also when nobody waits for its rows."""
        self.busy = None
        future.exception()


class Readers:
    """The readers of one cell: up to `warm` of them stay open, `most` are opened under load.

    There are more than the warm ones because a query may hold its reader while it awaits another
    query; above `most` it waits its turn until its deadline.
    """

    def __init__(
        self,
        connect: Callable[[], apsw.Connection],
        loop: asyncio.AbstractEventLoop,
        workers: Workers,
        pace: Pace,
        warm: int,
        most: int,
        pressure: Pressure,
        statements: Statements,
    ) -> None:
        self._pressure = pressure
        self.statements = statements
        self._connect = connect
        self._loop = loop
        self._workers = workers
        self.pace = pace
        self._warm = warm
        self._most = max(warm, most)
        self._idle: list[Reader] = []
        self._open = 0
        self._waiting: Turns[asyncio.Future[Reader]] = Turns()
        self._empty: asyncio.Future[None] | None = None

    def warm_up(self) -> None:
        """Open the first connection; may be called in a thread before the first read. The others
        that stay open are made when they are wanted: each reads the whole schema, which is 30 ms
        and 6 MB with thousands of tables."""
        self._idle.append(self._new())

    def _new(self) -> Reader:
        reader = Reader(self._connect(), self._workers(self._loop, "hansa-sqlite-reader"))
        self._open += 1
        return reader

    def take_now(self) -> Reader | None:
        """Return a reader, or None when all that may be open are taken."""
        if self._idle:
            reader = self._idle.pop()
        elif self._open < self._most and self._empty is None:
            reader = self._new()
        else:
            return None
        return reader

    async def take(self, site: str, deadline: float) -> Reader:
        """Wait until `deadline` for a reader, by turns of the sites. Raises Overloaded when none
        becomes free."""
        if self._empty is not None:
            raise Overloaded("This process is shutting down.", retry_after_s=1)
        began = machine.monotonic()
        turn: asyncio.Future[Reader] = self._loop.create_future()
        self._waiting.put(site, turn)
        alarm = self._loop.call_later(max(0.0, deadline - machine.monotonic()), _give_up, turn)
        try:
            reader = await turn
            now = machine.monotonic()
            self._pressure.waited(now - began, now)
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give_back(turn.result())
            raise
        finally:
            alarm.cancel()
        return reader

    def give_back(self, reader: Reader) -> None:
        """End the snapshot of a reader, when its thread is done with it, and lend it out again."""
        if reader.busy is not None:
            reader.until = 0.0
            reader.busy.add_done_callback(lambda _: self.give_back(reader))
            return
        reader.until = inf
        try:
            if reader.connection.in_transaction:
                reader.execute("COMMIT")
        except apsw.Error:
            self._discard(reader)
            return
        if self._waiting.count and self._lend(reader):
            return
        if self._open > self._warm or self._empty is not None:
            self._discard(reader)
        else:
            self._idle.append(reader)

    def _lend(self, reader: Reader) -> bool:
        """Give a reader to who has the next turn; tell whether there was anybody."""
        self._waiting.charge(reader.site, machine.monotonic() - reader.lent)
        while (turn := self._waiting.take()) is not None:
            if not turn.done():
                turn.set_result(reader)
                return True
        return False

    def _discard(self, reader: Reader) -> None:
        reader.worker.stop()
        reader.connection.close(True)
        self._open -= 1
        if self._empty is not None and not self._open and not self._empty.done():
            self._empty.set_result(None)

    async def close(self) -> None:
        """Wait until every reader is back, and close them."""
        self._empty = self._loop.create_future()
        while self._idle:
            self._discard(self._idle.pop())
        if self._open:
            await self._empty


def _give_up(turn: "asyncio.Future[Reader]") -> None:
    if not turn.done():
        turn.set_exception(Overloaded("All connections for reading are in use.", retry_after_s=1))


class SnapshotNeeded(BaseException):
    """A read wants a second statement, so it must begin again in a transaction. Not an Exception:
    no handler may catch it."""


class ReadSession:
    """What a query reads through: one snapshot, from its first statement until it ends.

    A single statement is a snapshot by itself; `snapshot` says that there will be more of them.
    """

    __slots__ = ("_ended", "_reader", "_readers", "_site", "_snapshot", "deadline", "position",
                 "residence")  # fmt: skip

    dialect: Dialect = "sqlite"

    def __init__(self, readers: Readers, site: str, deadline: float, snapshot: bool) -> None:
        self._site = site
        self._snapshot = snapshot
        self.deadline = deadline
        self.position = 0
        self.residence: str | None = None
        self._readers = readers
        self._reader: Reader | None = None
        self._ended = False

    async def fetch(self, sql: str, args: Sequence[Any] = ()) -> Sequence[Row]:
        """Run one statement and return its rows (see `storage.Session`)."""
        began = machine.monotonic()
        if began > self.deadline:
            raise late()
        reader = self._reader
        if reader is None:
            reader = await self._begin()
        elif not self._snapshot:
            raise SnapshotNeeded
        pace = self._readers.pace
        average = pace.watched.get(sql)
        if reader.busy is None and (average is None or average < SLOW_S):
            reader.until = began + INLINE_S
            try:
                rows: Sequence[Row] = reader.execute(sql, args).fetchall()
            except apsw.InterruptError:
                pace.stopped(sql)
            except Exception as error:
                raise self._failed(sql, began, error) from error
            else:
                ended = machine.monotonic()
                if average is not None or ended - began > NOTE_S:
                    pace.note(sql, ended - began)
                statements = self._readers.statements
                if statements.noted:
                    statements.note(sql, began, ended, len(rows))
                return rows
        return await self._in_thread(reader, sql, args)

    async def run(self, sql: str, args: Sequence[Any] = ()) -> int:
        """Run one statement that changes nothing: a query cannot write. Returns 0."""
        await self.fetch(sql, args)
        return 0

    async def enter_site(self, site: str) -> None:
        """Do nothing: SQLite has no row-level security, the compiler's scoping stands alone."""

    def end(self) -> None:
        """Give the reader back; the session is of no use any more."""
        self._ended = True
        if self._reader is not None:
            reader, self._reader = self._reader, None
            self._readers.give_back(reader)

    async def _begin(self) -> Reader:
        if self._ended:
            raise RuntimeError("this query has ended; its session was kept beyond it")
        try:
            reader = self._readers.take_now()
            if reader is None:
                reader = await self._readers.take(self._site, self.deadline)
        except apsw.Error as error:
            raise translate(error) from error
        if self._reader is not None or self._ended:  # another statement of this query was faster
            self._readers.give_back(reader)
            return self._reader or await self._begin()
        self._reader = reader
        reader.site, reader.lent = self._site, machine.monotonic()
        if self._snapshot:
            reader.until = self.deadline  # not that of whoever had it before
            try:
                reader.execute("BEGIN")
            except apsw.Error as error:
                raise translate(error) from error
        return reader

    async def _in_thread(self, reader: Reader, sql: str, args: Sequence[Any]) -> Sequence[Row]:
        while reader.busy is not None:
            await asyncio.wait([reader.busy])
            if self._reader is not reader:
                return await self.fetch(sql, args)
        began = machine.monotonic()
        reader.until = self.deadline
        future: asyncio.Future[tuple[list[Row], float]]
        future = reader.worker.run(lambda: reader.fetch_timed(sql, args))
        reader.busy = future
        future.add_done_callback(reader.rest)
        try:
            rows, took = await asyncio.shield(future)
        except Exception as error:
            raise self._failed(sql, began, error) from error
        self._readers.pace.note(sql, took)
        if self._readers.statements.noted:
            self._readers.statements.note(sql, began, machine.monotonic(), len(rows))
        return rows

    def _failed(self, sql: str, began: float, error: Exception) -> BaseException:
        told = translate(error)
        self._readers.statements.failed(sql, began, told)
        return told
