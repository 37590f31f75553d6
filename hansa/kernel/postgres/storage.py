"""PostgresStorage: the cell behind `hansa.kernel.storage`, for any number of processes."""

import asyncio
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import asyncpg

from hansa.kernel.postgres import sequencer
from hansa.kernel.postgres.errors import is_conflict, is_lost, translate
from hansa.kernel.postgres.pool import Link, Pool, State
from hansa.kernel.postgres.queues import Queues
from hansa.kernel.postgres.sessions import ReadSession, SnapshotNeeded, WriteSession, left
from hansa.kernel.problems import DeadlineExceeded, Overloaded, StorageFailed
from hansa.kernel.storage import PLATFORM, Body, Committed, Dialect, Session
from hansa.kernel.trampoline import drive

T = TypeVar("T")

logger = logging.getLogger("hansa.postgres")

_SITE: Final = re.compile(r"[A-Za-z0-9_]{1,90}")
BACKOFF_S: Final = 0.002
BACKOFF_MAX_S: Final = 0.1
POLL_S: Final = 0.1
READ_TRIES: Final = 8
RECONNECT_S: Final = 0.05


class PostgresStorage:
    """A cell in a PostgreSQL database.

    `position` of a commit is the number of its transaction (`xid8`): a replica whose snapshot has
    nothing older running has it. A commit without events, due work or a key has 0.
    """

    dialect: Dialect = "postgresql"
    poll_s: float | None = POLL_S

    def __init__(
        self,
        dsn: str,
        *,
        owner_dsn: str = "",
        cell: str = "local",
        pool_max: int = 12,
        chance: random.Random | None = None,
    ) -> None:
        """Name the database. `dsn` is the application's (several hosts for failover, see libpq),
        `owner_dsn` the one that may change the schema."""
        self.cell = cell
        self._dsn = dsn
        self._owner_dsn = owner_dsn
        self._pool_max = pool_max
        self._chance = chance or random.Random()
        self._queues = Queues()
        self._several: set[str] = set()
        self._wakes: list[Callable[[], None]] = []
        self._pool: Pool
        self._sequencing: asyncio.Lock
        self._opened = False

    async def open(self) -> None:
        """Connect and check the role. Raises StorageFailed when row security would not hold."""
        self._pool = Pool(self._dsn, self._pool_max)
        self._sequencing = asyncio.Lock()
        link = await self._pool.take(("", False), time.monotonic() + 10)
        try:
            rows = await link.connection.fetch(
                "SELECT rolsuper OR rolbypassrls, rolname FROM pg_roles"
                " WHERE rolname = current_user"
            )
            owned = await link.connection.fetchval(
                "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()"
                " AND tableowner = current_user"
            )
        finally:
            self._pool.give(link)
        if rows[0][0] or owned:
            raise StorageFailed(
                f"The role {rows[0][1]} may pass row security; serve with the application's role"
                " (see docs/operations.md), and migrate with the owner's."
            )
        self._opened = True

    async def close(self) -> None:
        """Finish what is running, then disconnect."""
        if self._opened:
            self._opened = False
            await self._pool.close()

    def on_commit(self, wake: Callable[[], None]) -> None:
        """Call `wake` on the loop after each durable commit of this process."""
        self._wakes.append(wake)

    # ---- reading

    async def read(
        self,
        body: Callable[[Session], Awaitable[T]],
        *,
        site: str,
        deadline: float,
        across: bool = False,
        shape: str = "",
    ) -> T:
        """Run `body` on one snapshot: a single statement is one by itself, in one round trip; a
        body that makes more begins again in a transaction, and is remembered by its shape."""
        snapshot = shape in self._several or not shape
        tries = 0
        while True:
            session = ReadSession(self._pool, (site, across), deadline, snapshot)
            broken = True
            try:
                value = await body(session)
                broken = False
                return value
            except SnapshotNeeded:
                snapshot, broken = True, False
                if len(self._several) < 10_000:
                    self._several.add(shape)
            except Exception as error:
                # A server that restarts breaks all connections of the pool; a read may be repeated.
                if not isinstance(error, StorageFailed) or tries == READ_TRIES:
                    raise
                if time.monotonic() + RECONNECT_S > deadline:
                    raise
                tries += 1
                await asyncio.sleep(RECONNECT_S * tries)
            finally:
                await session.end(broken=broken)

    # ---- writing

    async def write(
        self,
        body: Body[T],
        *,
        site: str,
        deadline: float,
        serial_by: str | None = None,
        across: bool = False,
    ) -> Committed[T]:
        """Run `body` as one serializable transaction (see `storage.Storage`)."""
        if serial_by is None:
            return await self._write(body, (site, across), deadline)
        async with self._queues.turn(serial_by, deadline):
            return await self._write(body, (site, across), deadline)

    async def _write(self, body: Body[T], state: State, deadline: float) -> Committed[T]:
        wait_s = BACKOFF_S
        while True:
            try:
                committed = await self._once(body, state, deadline)
            except _Retry as retry:
                pause = wait_s * self._chance.random()
                if time.monotonic() + pause >= deadline:
                    raise Overloaded(
                        "Others kept changing the same rows until the deadline.", retry_after_s=1
                    ) from retry.error
                await asyncio.sleep(pause)
                wait_s = min(BACKOFF_MAX_S, wait_s * 2)
                continue
            for wake in self._wakes:
                wake()
            return committed

    async def _once(self, body: Body[T], state: State, deadline: float) -> Committed[T]:
        """Try once. Raises _Retry where nothing was kept and another try may do."""
        try:
            link = await self._pool.take(state, deadline)
        except StorageFailed as error:
            raise _Retry(error) from error
        broken = True
        try:
            await self._begin(link, state, deadline)
            session = WriteSession(link, deadline, state[1])
            try:
                value = await drive(body(session))
                if session.failure is not None:
                    raise session.failure
            except Exception as error:
                failure = session.failure or error
                session.end()
                broken = await self._undo(link, failure)
                if is_conflict(failure) or is_lost(failure):
                    raise _Retry(failure) from error
                told = translate(error)
                if told is error:
                    raise
                raise told from error
            session.end()
            await self._commit(link, deadline)
            broken = False
            return Committed(value, session.position)
        finally:
            self._pool.give(link, broken=broken)

    async def _begin(self, link: Link, state: State, deadline: float) -> None:
        """Begin in one message, which sets the site for this transaction only."""
        begin = "BEGIN ISOLATION LEVEL SERIALIZABLE"
        if link.state != state:
            if _SITE.fullmatch(state[0]) is None:
                raise ValueError("a site's id is made of letters, digits and underscores")
            across = "on" if state[1] else "off"
            begin += f"; SET LOCAL hansa.site = '{state[0]}'; SET LOCAL hansa.across = '{across}'"
        try:
            await link.connection.execute(begin, timeout=left(deadline))
        except DeadlineExceeded:
            raise
        except Exception as error:
            raise _Retry(error) from error

    async def _undo(self, link: Link, failure: BaseException) -> bool:
        """Roll back; tell whether the connection is of no more use."""
        if is_lost(failure) or link.connection.is_closed():
            return True
        try:
            await link.connection.execute("ROLLBACK", timeout=5)
        except Exception:
            logger.info("a connection was lost while it rolled back")
            return True
        return False

    async def _commit(self, link: Link, deadline: float) -> None:
        try:
            tag = await link.connection.execute("COMMIT", timeout=max(1.0, left(deadline)))
        except DeadlineExceeded:
            await self._undo(link, DeadlineExceeded())
            raise
        except Exception as error:
            if is_conflict(error):
                raise _Retry(error) from error
            if is_lost(error) or isinstance(error, TimeoutError):
                raise StorageFailed(
                    "The connection was lost while it committed; retry with the same key."
                ) from error
            told = translate(error)
            if told is error:
                raise
            raise told from error
        if tag != "COMMIT":
            raise StorageFailed("PostgreSQL rolled the transaction back.")

    # ---- the log and the schema

    async def sequence(self) -> int:
        """Give positions to committed events that have none; return how many."""
        async with self._sequencing:
            state = (PLATFORM, True)
            link = await self._pool.take(state, time.monotonic() + 10)
            broken = True
            try:
                await link.enter(state, 10)
                count = await sequencer.assign_positions(link.connection, self.cell)
                broken = False
                return count
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                raise StorageFailed("Events could not be given their positions.") from error
            finally:
                self._pool.give(link, broken=broken)

    async def apply(self, script: Sequence[str]) -> None:
        """Run schema statements as the owner, in one transaction. Raises as a statement does."""
        if not self._owner_dsn:
            raise StorageFailed("The owner's DSN is needed to change the schema.")
        connection: Any = await asyncpg.connect(self._owner_dsn, timeout=10)
        try:
            async with connection.transaction():
                await connection.execute("SET LOCAL hansa.across = 'on'")
                for statement in script:
                    await connection.execute(statement)
        except asyncpg.PostgresError as error:
            told = translate(error)
            if told is error:
                raise
            raise told from error
        finally:
            await connection.close()


class _Retry(Exception):
    """Nothing was kept, and another try may do."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error
