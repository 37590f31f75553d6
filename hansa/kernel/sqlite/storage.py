"""SqliteStorage: the cell behind `hansa.kernel.storage`, on one file owned by one process."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import apsw

from hansa.kernel.fence import Fence
from hansa.kernel.observe.spans import Inside
from hansa.kernel.observe.statements import Statements
from hansa.kernel.problems import StorageFailed
from hansa.kernel.shedding import Pressure
from hansa.kernel.sqlite.checkpoints import Checkpoints
from hansa.kernel.sqlite.connection import FileLock, Synchronous, connect, connect_behind
from hansa.kernel.sqlite.errors import translate
from hansa.kernel.sqlite.pace import Pace
from hansa.kernel.sqlite.readers import Readers, ReadSession, SnapshotNeeded
from hansa.kernel.sqlite.thread import Worker, Workers
from hansa.kernel.sqlite.writer import Writer
from hansa.kernel.storage import Body, Committed, ConstraintFailed, Dialect, Session

T = TypeVar("T")

SHAPES_MAX = 10_000
"""Shapes of reads that are remembered to make several statements."""

SCRUB_AGAIN_MS = 50
SCRUB_WAIT_MS = 30_000
"""How long writing the file anew waits for who reads it or checkpoints it."""


class SqliteStorage:
    """A cell in a SQLite file, with everything that `storage.Storage` promises.

    `position` of a commit is the last position in the log (the AUTOINCREMENT of `hansa_events`)
    when its batch committed, read once per batch: it never falls, also over restarts, and who has
    seen the log up to there has seen the commit. A commit that emits nothing has the position of
    the commit before; without that table it is 0.

    `serial_by` means nothing here: one writer serializes. `site` and `across` are for the fence
    alone: the compiler scopes, and there is no second wall to lift.
    """

    dialect: Dialect = "sqlite"
    poll_s: float | None = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        cell: str = "local",
        vfs: str | None = None,
        synchronous: Synchronous = "FULL",
        readers: int = 4,
        readers_max: int = 32,
        queue_max: int = 10_000,
        cache_kb: int = 16_384,
        workers: Workers = Worker,
    ) -> None:
        """Name the file; `open` makes it if it is not there. Its folder must exist.

        `vfs` is the name of a registered SQLite VFS. `synchronous="OFF"` gives up durability, for
        tests. `readers` connections stay open and `readers_max` may be under load; above
        `queue_max` waiting commands more are Overloaded. `cache_kb` is the writer's page cache; a
        reader has a quarter of that. `workers` makes the threads; the simulation has others.
        """
        self.cell = cell
        self.fence = Fence()
        self.path = os.path.abspath(path)
        self._vfs = vfs
        self._synchronous: Synchronous = synchronous
        self._readers_warm = readers
        self._readers_max = readers_max
        self._queue_max = queue_max
        self._cache_kb = cache_kb
        self._workers = workers
        self.reading = Pressure()
        self.writing = Pressure()
        self.statements = Statements()
        self._several: set[str] = set()
        self._wakes: list[Callable[[], None]] = []
        self._lock: FileLock | None = None
        self._writer: Writer
        self._readers: Readers
        self._checkpoints: Checkpoints

    async def open(self) -> None:
        """Take the file's lock, recover what the log holds, and connect.

        Raises StorageFailed when the file is in use, cannot be opened, or is no database.
        """
        loop = asyncio.get_running_loop()
        worker = self._workers(loop, "hansa-sqlite-writer")
        pace = Pace()
        self._lock = await worker.run(lambda: FileLock(self.path))
        try:
            connection: apsw.Connection = await worker.run(self._connect_writer)
            self._writer = Writer(
                connection,
                loop,
                worker,
                pace,
                self._queue_max,
                self._committed,
                self.writing,
                self.statements,
                self.fence,
            )
            self._readers = Readers(
                lambda: self._connect(self._cache_kb // 4, writes=False),
                loop,
                self._workers,
                pace,
                self._readers_warm,
                self._readers_max,
                self.reading,
                self.statements,
            )
            await worker.run(self._readers.warm_up)
            behind: apsw.Connection = await worker.run(self._connect_behind)
            behind_worker = self._workers(loop, "hansa-sqlite-checkpoint")
            self._checkpoints = Checkpoints(behind, loop, behind_worker, self._writer)
        except BaseException as error:
            worker.stop()
            self._release()
            if isinstance(error, apsw.Error):
                raise StorageFailed(f"{self.path} cannot be opened: {error}.") from error
            raise

    def _connect(self, cache_kb: int, *, writes: bool) -> apsw.Connection:
        return connect(
            self.path,
            vfs=self._vfs,
            synchronous=self._synchronous,
            cache_kb=cache_kb,
            writes=writes,
        )

    def _connect_behind(self) -> apsw.Connection:
        return connect_behind(self.path, vfs=self._vfs, synchronous=self._synchronous)

    def _connect_writer(self) -> apsw.Connection:
        connection = self._connect(self._cache_kb, writes=True)
        folder = os.open(os.path.dirname(self.path), os.O_RDONLY)
        try:
            os.fsync(folder)  # SQLite syncs a new file, not the name of it
        finally:
            os.close(folder)
        return connection

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def close(self) -> None:
        """Refuse more work, finish what is queued and running, then let go of the file."""
        if self._lock is None:
            return
        await self._writer.drain()
        await self._readers.close()
        await self._checkpoints.close()
        worker = self._writer.worker
        await worker.run(lambda: self._writer.connection.close(True))
        worker.stop()
        self._release()

    async def read(
        self,
        body: Callable[[Session], Awaitable[T]],
        *,
        site: str,
        deadline: float,
        across: bool = False,
        shape: str = "",
    ) -> T:
        """Run `body` on one snapshot, begun with its first statement (see `storage.Storage`).

        A body of a known shape that made one statement so far goes without a transaction, which
        would be half of its cost; if it makes a second one it begins again, in one.
        """
        self.fence.check_read(site, across)
        several = not shape or shape in self._several
        session = ReadSession(self._readers, site, deadline, several)
        try:
            return await body(session)
        except SnapshotNeeded:
            session.end()
            if len(self._several) < SHAPES_MAX:
                self._several.add(shape)
            session = ReadSession(self._readers, site, deadline, snapshot=True)
            return await body(session)
        finally:
            session.end()

    async def write(
        self,
        body: Body[T],
        *,
        site: str,
        deadline: float,
        serial_by: str | None = None,
        across: bool = False,
    ) -> Committed[T]:
        """Run `body` at its site's turn and return when it is durable (see `storage.Storage`).

        When the caller is cancelled before its turn the body does not run; afterwards it is kept.
        """
        with Inside("transaction", serial_by or ""):
            return await self._writer.submit(site, body, deadline, across)

    async def sequence(self) -> int:
        """Return 0: the one writer's order of insertion is its order of commit."""
        return 0

    def on_commit(self, wake: Callable[[], None]) -> None:
        """Call `wake` on the loop after each durable commit that changed something."""
        self._wakes.append(wake)

    def _committed(self) -> None:
        self._checkpoints.grown()
        loop = asyncio.get_running_loop()
        for wake in self._wakes:
            loop.call_soon(wake)  # an error of one is nobody else's

    async def apply(self, script: Sequence[str]) -> None:
        """Run schema statements in one transaction, in the writer's thread between two batches.

        A script that drops a table (the rebuilding of a table in SQLite's documentation,
        lang_altertable.html section 7) runs without foreign keys, and all of them are checked
        before it is committed. Raises as a statement does; nothing is kept then.
        """
        try:
            await self._writer.between(lambda: self._apply_now(script))
        except apsw.Error as error:
            raise translate(error) from error
        self._committed()

    def _apply_now(self, script: Sequence[str]) -> None:
        connection = self._writer.connection
        rebuilds = any("DROP TABLE" in statement.upper() for statement in script)
        if rebuilds:
            connection.pragma("foreign_keys", False)
        try:
            with connection:
                for statement in script:
                    connection.execute(statement).fetchall()
                if rebuilds and (
                    broken := connection.execute("PRAGMA foreign_key_check").fetchall()
                ):
                    raise _broken(broken)
        finally:
            if rebuilds:
                connection.pragma("foreign_keys", True)
        self._writer.look_at_schema()

    async def scrub(self) -> None:
        """Write the file anew, so that neither it nor its log has anything left of rows that were
        erased or changed before. It takes as long as copying the file, and as much room beside it;
        writers wait meanwhile. Raises StorageFailed."""
        try:
            await self._writer.between(self._scrub_now)
        except apsw.Error as error:
            raise StorageFailed(f"{self.path} cannot be written anew: {error}.") from error

    def _scrub_now(self) -> None:
        connection = self._connect(self._cache_kb, writes=True)
        try:
            connection.set_busy_timeout(SCRUB_WAIT_MS)
            connection.pragma("temp_store", "FILE")  # the copy may be larger than the memory
            connection.execute("VACUUM")
            _empty_log(connection)
        finally:
            connection.close()
        self._writer.look_at_schema()


def _empty_log(connection: apsw.Connection) -> None:
    """Move all of the log into the file, and leave the log empty. SQLite itself does not wait for
    a checkpoint that runs elsewhere, so this does."""
    for _ in range(SCRUB_WAIT_MS // SCRUB_AGAIN_MS):
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            time.sleep(SCRUB_AGAIN_MS / 1_000)
        else:
            return
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def _broken(rows: list[Any]) -> ConstraintFailed:
    table, _, parent, _ = rows[0]
    return ConstraintFailed("foreign", f"of {table} to {parent}, in {len(rows)} rows,")
