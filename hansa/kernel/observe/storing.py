"""Storing: a storage that notes the statements and transactions that pass through it.

It stands in front of an engine and changes nothing of what the engine promises. Of a statement the
text is noted, the time and the number of rows; never its values.
"""

from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from types import CoroutineType
from typing import Any, Final, TypeVar

import msgspec

from hansa.kernel.observe.spans import SPANS_MAX, Inside, current, short
from hansa.kernel.observe.vitals import StatementVital
from hansa.kernel.storage import Body, Committed, Dialect, Row, Session, Storage

T = TypeVar("T")

TEXTS_MAX: Final = 5_000
"""Statements that are counted one by one; what comes after is counted as one."""
OTHER: Final = "(other statements)"


class Statements:
    """The vitals of all statements of a process, by their text."""

    __slots__ = ("by_text",)

    def __init__(self) -> None:
        self.by_text: dict[str, StatementVital] = {}

    def add(self, sql: str, took_s: float, rows: int | str, error: str) -> None:
        """Count one run of a statement."""
        vital = self.by_text.get(sql)
        if vital is None:
            text = sql if len(self.by_text) < TEXTS_MAX else OTHER
            vital = self.by_text.setdefault(text, StatementVital())
        vital.count += 1
        vital.total_s += took_s
        vital.rows += int(rows)
        if error:
            vital.failed += 1
        if took_s > vital.longest_s:
            vital.longest_s = took_s


class ObservedSession(msgspec.Struct, gc=False):
    """A session that notes its statements in the segment of the code that runs them."""

    _session: Session
    _statements: Statements
    dialect: Dialect

    @property
    def deadline(self) -> float:
        """See `storage.Session`."""
        return self._session.deadline

    @deadline.setter
    def deadline(self, value: float) -> None:
        self._session.deadline = value

    @property
    def position(self) -> int:
        """See `storage.Session`."""
        return self._session.position

    @position.setter
    def position(self, value: int) -> None:
        self._session.position = value

    @property
    def residence(self) -> str | None:
        """See `storage.Session`."""
        return self._session.residence

    @residence.setter
    def residence(self, value: str | None) -> None:
        self._session.residence = value

    async def fetch(self, sql: str, args: Sequence[Any] = ()) -> Sequence[Row]:
        """See `storage.Session`."""
        began = perf_counter()
        try:
            rows = await self._session.fetch(sql, args)
        except BaseException as error:
            self._note(sql, began, 0, short(error))
            raise
        # What follows is `_note`, without the call.
        here = current.get()
        if here is not None and len(spans := here[0].spans) < SPANS_MAX:
            spans.append((here[1], "sql", sql, began, perf_counter(), len(rows), ""))
        else:
            self._note(sql, began, len(rows), "")
        return rows

    async def run(self, sql: str, args: Sequence[Any] = ()) -> int:
        """See `storage.Session`."""
        began = perf_counter()
        try:
            changed = await self._session.run(sql, args)
        except BaseException as error:
            self._note(sql, began, 0, short(error))
            raise
        here = current.get()
        if here is not None and len(spans := here[0].spans) < SPANS_MAX:
            spans.append((here[1], "sql", sql, began, perf_counter(), changed, ""))
        else:
            self._note(sql, began, changed, "")
        return changed

    def _note(self, sql: str, began: float, rows: int, error: str) -> None:
        """Note a statement in its segment, which counts it when it is done; or count it here."""
        ended = perf_counter()
        here = current.get()
        if here is not None:
            segment = here[0]
            if len(segment.spans) < SPANS_MAX:
                segment.spans.append((here[1], "sql", sql, began, ended, rows, error))
                return
            segment.lost += 1
        self._statements.add(sql, ended - began, rows, error)

    async def enter_site(self, site: str) -> None:
        """See `storage.Session`."""
        await self._session.enter_site(site)


class ObservedStorage:
    """A storage whose sessions are observed."""

    def __init__(self, storage: Storage, statements: Statements) -> None:
        self._storage = storage
        self._statements = statements
        self.dialect: Dialect = storage.dialect
        self.poll_s = storage.poll_s
        self.cell = storage.cell
        self.fence = storage.fence
        self.reading = storage.reading
        self.writing = storage.writing

    async def open(self) -> None:
        """See `storage.Storage`."""
        await self._storage.open()

    async def close(self) -> None:
        """See `storage.Storage`."""
        await self._storage.close()

    def read(
        self,
        body: Callable[[Session], Awaitable[T]],
        *,
        site: str,
        deadline: float,
        across: bool = False,
        shape: str = "",
    ) -> "CoroutineType[Any, Any, T]":
        """See `storage.Storage`."""
        statements, dialect = self._statements, self.dialect
        # Not a coroutine of its own, which would cost; the checkers disagree on how that is told.
        return self._storage.read(  # type: ignore[return-value]
            lambda session: body(ObservedSession(session, statements, dialect)),
            site=site, deadline=deadline, across=across, shape=shape,
        )  # fmt: skip

    async def write(
        self,
        body: Body[T],
        *,
        site: str,
        deadline: float,
        serial_by: str | None = None,
        across: bool = False,
    ) -> Committed[T]:
        """See `storage.Storage`. The span is from the queue to the durable commit."""
        statements, dialect = self._statements, self.dialect
        with Inside("transaction", serial_by or ""):
            return await self._storage.write(
                lambda session: body(ObservedSession(session, statements, dialect)),
                site=site, deadline=deadline, serial_by=serial_by, across=across,
            )  # fmt: skip

    async def sequence(self) -> int:
        """See `storage.Storage`."""
        return await self._storage.sequence()

    def on_commit(self, wake: Callable[[], None]) -> None:
        """See `storage.Storage`."""
        self._storage.on_commit(wake)

    async def apply(self, script: Sequence[str]) -> None:
        """See `storage.Storage`."""
        await self._storage.apply(script)
