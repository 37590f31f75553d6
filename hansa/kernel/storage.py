"""Storage: the seam between the kernel and a database engine, SQLite or PostgreSQL.

The kernel says what happens in a transaction; an engine says how it becomes atomic and durable.
What must never happen behind this seam: an answer before its commit, a write that a crash half
keeps, a read that sees an open transaction, or a command that waits for anything but its database.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from hansa.kernel.fence import Fence

from hansa.kernel.observe.statements import Statements
from hansa.kernel.shedding import Pressure

T = TypeVar("T")
Row = Sequence[Any]
Dialect = Literal["sqlite", "postgresql"]

PLATFORM = "platform"
"""What stands in the column `site` of rows that belong to no site."""


@dataclass(frozen=True, slots=True)
class Committed(Generic[T]):
    """What a transaction returned, and the position to read it from (see `Position`)."""

    value: T
    position: int


class Session(Protocol):
    """One open transaction or snapshot. SQL is the engine's dialect; `?1` style on SQLite and
    `$1` on PostgreSQL, arguments by position."""

    dialect: Dialect

    @property
    def deadline(self) -> float:
        """When to give up, on the loop's monotonic clock (`time.monotonic()`)."""
        ...

    @deadline.setter
    def deadline(self, value: float) -> None: ...

    @property
    def position(self) -> int:
        """What the commit's position becomes, where the kernel's last statement has to tell it."""
        ...

    @position.setter
    def position(self, value: int) -> None: ...

    @property
    def residence(self) -> str | None:
        """What the site is in this cell, as a statement told; None where none was asked."""
        ...

    @residence.setter
    def residence(self, value: str | None) -> None: ...

    async def fetch(self, sql: str, args: Sequence[Any] = ()) -> Sequence[Row]:
        """Run one statement and return its rows. Raises DeadlineExceeded before a statement that
        begins too late, and ConstraintFailed when a constraint refuses a row."""
        ...

    async def run(self, sql: str, args: Sequence[Any] = ()) -> int:
        """Run one statement and return how many rows it changed. Raises as `fetch`."""
        ...

    async def enter_site(self, site: str) -> None:
        """Make `site` the one that row-level security lets through from here on."""
        ...


class ConstraintFailed(Exception):
    """A constraint refused a row. `constraint` is its name where the engine tells it, else the
    columns; `kind` is what sort it is. The transaction stays usable only on SQLite: let it fail."""

    def __init__(
        self, kind: Literal["unique", "foreign", "check", "null"], constraint: str
    ) -> None:
        super().__init__(f"{kind} constraint {constraint}")
        self.kind = kind
        self.constraint = constraint


Body = Callable[[Session], Coroutine[Any, Any, T]]
"""What happens in a transaction. It may be run again from the start after a conflict or a failed
batch, so everything that it decides it must decide from its session and its arguments."""


class Storage(Protocol):
    """One cell: a database with its connections."""

    dialect: Dialect
    cell: str
    poll_s: float | None
    """How often to look for what other processes have committed; None where there are none."""
    reading: Pressure
    """How long reads wait here for their turn."""
    writing: Pressure
    """How long writes wait here; the same as `reading` where both wait for the same."""
    statements: Statements
    """Who is told of each statement, where anybody wants to know."""
    fence: "Fence"
    """The sites that are closed here; `read` and `write` refuse them, but those `across`."""

    async def open(self) -> None:
        """Connect. Raises StorageFailed when the database is not there or in use by another."""
        ...

    async def close(self) -> None:
        """Finish what is running, then disconnect."""
        ...

    async def read(
        self,
        body: Callable[[Session], Awaitable[T]],
        *,
        site: str,
        deadline: float,
        across: bool = False,
        shape: str = "",
    ) -> T:
        """Run `body` on one read snapshot. It may suspend as it likes, and may be run twice.

        `shape` names reads that do alike, so that an engine can learn how many statements they
        make. `across` lifts row security, for the kernel's own loops.
        """
        ...

    async def write(
        self,
        body: Body[T],
        *,
        site: str,
        deadline: float,
        serial_by: str | None = None,
        across: bool = False,
    ) -> Committed[T]:
        """Run `body` as one serializable transaction and return when it is durable.

        Retries conflicts until the deadline. `body` may suspend only inside its session; any other
        suspension raises CommandSuspended. Exceptions of `body` undo it and are passed on, also
        only after what they may have read is durable. Bodies with the same `serial_by` run one
        after another in this process. Errors of the machine: StorageFull, StorageFailed, and
        Overloaded when the queue is over its limit or the conflicts outlast the deadline.
        """
        ...

    async def sequence(self) -> int:
        """Give positions to committed events that have none; return how many (see `log`)."""
        ...

    def on_commit(self, wake: Callable[[], None]) -> None:
        """Call `wake` on the loop after each durable commit; it must be quick."""
        ...

    async def apply(self, script: Sequence[str]) -> None:
        """Run schema statements as the owner, in one transaction (for migrations)."""
        ...
