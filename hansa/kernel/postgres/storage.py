"""PostgresStorage: the cell behind `hansa.kernel.storage`, for any number of processes."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from hansa.kernel.fence import Fence
from hansa.kernel.observe.spans import Inside
from hansa.kernel.observe.statements import Statements
from hansa.kernel.postgres import link, sequencer
from hansa.kernel.postgres.errors import is_conflict, translate
from hansa.kernel.postgres.link import Address, State
from hansa.kernel.postgres.pool import Pool
from hansa.kernel.postgres.queues import Queues
from hansa.kernel.postgres.sessions import Again, ReadSession, holding
from hansa.kernel.postgres.transactions import Retry, transact
from hansa.kernel.problems import Overloaded, Problem, StorageFailed
from hansa.kernel.row_security import ROLE_FAULTS
from hansa.kernel.shedding import Pressure
from hansa.kernel.storage import PLATFORM, Body, Committed, Dialect, Session

T = TypeVar("T")

BACKOFF_S: Final = 0.002
BACKOFF_MAX_S: Final = 0.1
POLL_S: Final = 0.1
SHAPES_MAX: Final = 10_000


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
        """Name the database. `dsn` is the application's login, and `owner_dsn` the one that may
        change the schema; with several hosts (``//user@one,two/name``) the one that takes writes is
        found. `pool_max` connections are opened at most, and as many for queries inside of queries.
        `chance` spreads the retries."""
        self.cell = cell
        self.fence = Fence()
        self._address = Address(dsn)
        self._owner_dsn = owner_dsn
        self._pool_max = pool_max
        self._chance = chance or random.Random()
        self._queues = Queues()
        self.reading = self.writing = Pressure()
        self.statements = Statements()
        self._several: set[str] = set()
        self._wakes: list[Callable[[], None]] = []
        self._pool: Pool
        self._sequencing: asyncio.Lock
        self._opened = False

    async def open(self) -> None:
        """Connect and check the role. Raises StorageFailed when row security would not hold."""
        self._pool = Pool(self._address, self._pool_max, self.reading)
        self._sequencing = asyncio.Lock()
        first = await self._pool.check()
        try:
            faults = await first.rows(ROLE_FAULTS, (), link.CONNECT_S)
        except Exception as error:
            raise StorageFailed(f"The role could not be checked: {error}.") from error
        finally:
            self._pool.give(first)
        if faults:
            await self._pool.close()
            role, fault = faults[0]
            raise StorageFailed(
                f"The role {role} {fault}, so row security would not keep sites apart. Serve with"
                " the login of the role hansa_app and migrate with that of hansa_owner;"
                " row_security.bootstrap makes both."
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
        self.fence.check_read(site, across)
        state = (site, across)
        snapshot = not shape or shape in self._several
        wait_s = BACKOFF_S
        while True:
            session = ReadSession(self._pool, state, deadline, snapshot, self.statements)
            try:
                return await self._read_once(body, session)
            except Retry as retry:
                if isinstance(retry.error, Again):
                    snapshot = True
                    self._remember(shape)
                else:
                    wait_s = await self._pause(retry.error, wait_s, deadline)

    async def _read_once(self, body: Callable[[Session], Awaitable[T]], session: ReadSession) -> T:
        """Run a query once. Raises Retry when it has to begin again, whatever it returned."""
        token = holding.set(True) if session.snapshot else None
        try:
            value = await body(session)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            await session.end(broken=True)
            raise
        except BaseException as error:
            await session.end()
            if session.again is None:
                raise
            raise Retry(session.again) from error
        finally:
            if token is not None:
                holding.reset(token)
        await session.end()
        if session.again is not None:
            raise Retry(session.again)
        return value

    def _remember(self, shape: str) -> None:
        if len(self._several) < SHAPES_MAX:
            self._several.add(shape)

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
        self.fence.check_write(site, across)
        with Inside("transaction", serial_by or ""):
            if serial_by is None:
                return await self._write(body, (site, across), deadline)
            async with self._queues.turn(serial_by, deadline):
                return await self._write(body, (site, across), deadline)

    async def _write(self, body: Body[T], state: State, deadline: float) -> Committed[T]:
        wait_s = BACKOFF_S
        while True:
            try:
                committed = await transact(self._pool, body, state, deadline, self.statements)
            except Retry as retry:
                wait_s = await self._pause(retry.error, wait_s, deadline)
                continue
            for wake in self._wakes:
                wake()
            return committed

    async def _pause(self, why: BaseException, wait_s: float, deadline: float) -> float:
        """Wait a random moment before another try; return how long the next wait may be.

        Raises Overloaded when there is no time for another try.
        """
        pause_s = wait_s * self._chance.random()
        if time.monotonic() + pause_s < deadline:
            await asyncio.sleep(pause_s)
            if time.monotonic() < deadline:
                return min(BACKOFF_MAX_S, wait_s * 2)
        reason = (
            "Others kept changing the same rows until the deadline."
            if is_conflict(why)
            else "PostgreSQL could not be used until the deadline; nothing was changed."
        )
        raise Overloaded(reason, retry_after_s=1) from why

    # ---- the log and the schema

    async def sequence(self) -> int:
        """Give positions to committed events that have none; return how many. Raises StorageFailed
        when it cannot be done now."""
        state = (PLATFORM, True)
        deadline = time.monotonic() + link.CONNECT_S
        async with self._sequencing:
            try:
                taken = await self._pool.take(state, deadline)
                try:
                    await taken.enter(state, deadline)
                    count = await sequencer.assign_positions(taken, self.cell)
                except BaseException as error:
                    self._pool.give_failed(taken, error)
                    raise
            except Problem:
                raise
            except Exception as error:
                raise StorageFailed(f"Events could not be given positions: {error}.") from error
            self._pool.give(taken)
            return count

    async def apply(self, script: Sequence[str]) -> None:
        """Run schema statements as the owner, in one transaction. Raises as a statement does."""
        if not self._owner_dsn:
            raise StorageFailed("The owner's DSN is needed to change the schema.")
        try:
            await link.apply(self._owner_dsn, script)
        except Exception as error:
            told = translate(error)
            if told is error:
                raise
            raise told from error
