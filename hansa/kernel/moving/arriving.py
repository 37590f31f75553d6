"""Arriving: what the cell does that a site is moved to.

It fetches the rows itself. What makes the site live is written with the row that says that it is
here, in one transaction: that commit decides the move.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from hansa.kernel import codec, residence, ticks
from hansa.kernel.caller import SYSTEM
from hansa.kernel.commands import deadline_in
from hansa.kernel.keeping import carrying
from hansa.kernel.keeping.belongings import Belonging
from hansa.kernel.keeping.carrying import Batch
from hansa.kernel.keeping.erasing import there_statements
from hansa.kernel.keeping.sitefile import FORMAT, Head
from hansa.kernel.moving import protocol
from hansa.kernel.moving.messages import PATH, Ask, Begin, Piece, Take, Want
from hansa.kernel.moving.protocol import Row
from hansa.kernel.moving.side import STEP_S, Side
from hansa.kernel.problems import Conflict, Problem
from hansa.kernel.relations import sql
from hansa.kernel.remote import following
from hansa.kernel.remote.placement import Entry
from hansa.kernel.schedule import from_us
from hansa.kernel.storage import PLATFORM, ConstraintFailed, Session

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

READY_MAX: Final = 1_000
MEMORY_BYTES: Final = 8 << 20
"""What is kept of the rows that come last in memory, not in a file."""
LEASE_S: Final = 60.0
"""How long a copy is left alone after a transaction of it: the next question to the other cell, and
the transaction behind it, take STEP_S each at most. So long the other processes of the cell wait
when the one that copies dies."""
RENEW_S: Final = 5.0
HELD_S: Final = 1.0
"""How long a process that is asked for what another one copies waits before it says so."""
LATE_ROWS: Final = 1_000
"""Rows a second that the last transaction writes at the least."""


class Arriving(Side):
    """The sites that come into a cell."""

    def __init__(self, runtime: "Runtime", rows: Sequence[Belonging]) -> None:
        super().__init__(runtime, rows)
        self._taking: dict[Take, asyncio.Task[int | None]] = {}
        self._ready: dict[str, Row] = {}
        """The sites that may come, of which there is nothing here yet."""

    async def take(self, take: Take, wait_s: float) -> int | None:
        """Fetch a site; return how many rows it has, or None if that is not done in time: then it
        goes on, here or in another process, and is to be asked for again. Raises OutOfTurn and
        Problem."""
        task = self._taking.get(take)
        if task is None:
            task = asyncio.create_task(self._fetch(take), name=f"hansa-move-{take.site}")
            self._taking[take] = task
            task.add_done_callback(lambda _: self._taking.pop(take, None))
        done, _ = await asyncio.wait([task], timeout=wait_s)
        return task.result() if done else None

    async def prepare(self, ask: Ask) -> None:
        """Claim a site before it is fenced where it is, and erase what an earlier try has left, so
        that nobody has to wait for that. What another process is at is left to it. Raises OutOfTurn
        and Conflict."""
        self._ready.pop(ask.site, None)
        while len(self._ready) >= READY_MAX:
            self._ready.pop(next(iter(self._ready)))
        async with self._claimed(ask) as claimed:
            pass
        if claimed is not None:
            self._ready[ask.site] = claimed

    async def clear(self, ask: Ask) -> None:
        """Have a site not come in this epoch, and erase what is here of it. Raises OutOfTurn."""

        async def body(session: Session) -> None:
            row, _, _ = await residence.read(session, ask.site)
            cleared = protocol.clear(row, ask.epoch)
            if cleared != row:
                await residence.write(session, ask.site, cleared, self._runtime.clock.now_us())

        await self._change(body)
        await self._erase_rows(ask.site, Row("gone", ask.epoch))

    async def stop(self) -> None:
        """Break off what is being fetched; it is begun anew when it is asked for again."""
        for task in self._taking.values():
            task.cancel()
        await asyncio.gather(*self._taking.values(), return_exceptions=True)

    async def _fetch(self, take: Take) -> int | None:
        async with self._claimed(take) as claimed:
            if claimed is None:
                await asyncio.sleep(HELD_S)
                return None
            return 0 if claimed.state == "here" else await self._bring(take, claimed)

    async def _bring(self, take: Take, claimed: Row) -> int:
        remote = self._runtime.remote
        entry = None if remote is None else remote.placement.entry_of(take.source)
        if entry is None:
            raise Conflict(f"There is no cell {take.source} in the placement of this process.")
        begin = codec.decode(await self._ask(entry, "begin", Ask(take.site, take.epoch)), Begin)
        self._check_known(begin)
        with tempfile.SpooledTemporaryFile(MEMORY_BYTES) as file:
            late = Late(file, _head(take, begin))
            try:
                count = await self._copy(take, entry, begin, claimed, late)
                await self._arrive(take, begin, claimed, late)
            except ConstraintFailed as error:
                raise Conflict(f"{take.site} does not go into this cell: {error}.") from error
        self._runtime.due.wake()
        self._runtime.dispatcher.wake_retry()
        return count

    # ---- for oneself

    @asynccontextmanager
    async def _claimed(self, ask: Ask | Take) -> AsyncIterator[Row | None]:
        """Have a site come in here, nothing being left of an earlier try; None while another
        process is at it. Raises OutOfTurn and Conflict."""
        claimed, has_rest = await self._claim(ask)
        try:
            if claimed is not None and has_rest:
                await self._erase_rows(ask.site, claimed)
            yield claimed
        finally:
            if claimed is not None and claimed.state == "coming" and self._lease():
                await self._let_go(ask.site, claimed)

    async def _claim(self, ask: Ask | Take) -> tuple[Row | None, bool]:
        """Note that a site is coming; return what is kept of it then, and whether there may be
        rows of an earlier try."""
        ready = self._ready.get(ask.site)

        async def body(session: Session) -> tuple[Row | None, bool]:
            row, at_us, noted = await residence.read(session, ask.site, lock=True)
            now_us, lease = self._runtime.clock.now_us(), self._lease()
            until_us = noted.get(residence.UNTIL, 0)
            if lease and protocol.is_held(row, ask.epoch, until_us, now_us):
                return None, False
            is_ready = row is not None and row == ready and row.epoch == ask.epoch
            claimed = row if is_ready else protocol.claim(row, ask.epoch, now_us)
            assert claimed is not None
            if row is None:
                await self._check_empty(session, ask.site)
            if claimed.state == "coming" and (claimed != row or lease):
                await residence.write(session, ask.site, claimed, at_us, lease)
            return claimed, row is not None and not is_ready and claimed.state == "coming"

        claimed, has_rest = await self._change(body)
        if claimed is not None:
            self._ready.pop(ask.site, None)
        return claimed, has_rest

    def _lease(self, more_s: float = 0.0) -> dict[str, int] | None:
        """Return what tells other processes of this cell to leave a copy alone, from now on; None
        where one process has the database."""
        if self._runtime.storage.poll_s is None:
            return None
        return {residence.UNTIL: self._runtime.clock.now_us() + int((LEASE_S + more_s) * 1e6)}

    async def _still(self, session: Session, site: str, kept: Row) -> dict[str, int]:
        noted = await super()._still(session, site, kept)
        lease = self._lease() if kept.state == "coming" else None
        if lease and lease[residence.UNTIL] - noted.get(residence.UNTIL, 0) > RENEW_S * 1e6:
            await residence.write(session, site, kept, kept.token, lease)
        return noted

    async def _let_go(self, site: str, claimed: Row) -> None:
        """Have others begin at once where this has ended; else they wait a while."""

        async def body(session: Session) -> None:
            row, _, _ = await residence.read(session, site, lock=True)
            if row == claimed:
                await residence.write(session, site, claimed, claimed.token)

        with suppress(Problem):
            await self._serializably(body)

    async def _check_empty(self, session: Session, site: str) -> None:
        """Raise Conflict where there are rows of a site that has never been here."""
        for text in there_statements(self._rows):
            if await session.fetch(sql(session, text), (site,)):
                raise Conflict(f"{site} has rows in this cell already.")

    def _check_known(self, begin: Begin) -> None:
        """Raise Conflict for what this release has no place for."""
        known = {one.name: set(one.names) for one in self._rows}
        for table, columns in begin.tables.items():
            unknown = sorted(set(columns) - known.get(table, set()))
            if unknown:
                raise Conflict(f"{table}.{unknown[0]} is not known to the release of this cell.")

    async def _copy(
        self, take: Take, entry: Entry, begin: Begin, claimed: Row, late: "Late"
    ) -> int:
        """Write all rows but those that make the site live, which are kept for later; return how
        many there are."""
        by_name = {one.name: one for one in self._rows}
        count = 0
        want: Want | None = Want(take.site, take.epoch, begin.filled)
        coming = asyncio.create_task(self._ask(entry, "read", want))
        try:
            while want is not None:
                piece = codec.decode(await coming, Piece)
                want = None
                if piece.tables:
                    want = Want(take.site, take.epoch, piece.tables, piece.after)
                    coming = asyncio.create_task(self._ask(entry, "read", want))
                batch: Batch = []
                for part in piece.parts:
                    one = by_name[part.table]
                    count += len(part.rows)
                    if one.live or one.positions:
                        late.keep(part.table, part.rows)
                    if not one.live:
                        batch += [(one, row) for row in part.rows]
                await self._write_batch(take, claimed, late.head, batch)
        finally:
            coming.cancel()
        return count

    async def _write_batch(self, take: Take, claimed: Row, head: Head, batch: Batch) -> None:
        async def body(session: Session) -> None:
            await self._still(session, take.site, claimed)
            if session.dialect == "postgresql":  # durable with the commit that decides
                await session.run("SET LOCAL synchronous_commit = off")
            await carrying.write_batch(session, head, batch, self._runtime.clock)

        await self._serializably(body)  # also without rows: it goes on

    async def _arrive(self, take: Take, begin: Begin, claimed: Row, late: "Late") -> None:
        runtime = self._runtime
        info = await runtime.site(take.site)

        async def last(session: Session) -> None:
            await self._still(session, take.site, claimed)
            lease = self._lease(late.count / LATE_ROWS)
            await residence.write(session, take.site, claimed, claimed.token, lease)

        if self._lease():  # the row cannot be renewed meanwhile: that would undo what follows
            await self._serializably(last)

        async def arrived(session: Session) -> None:
            row, _, _ = await residence.read(session, take.site)
            here = protocol.arrive(row, claimed)
            await following.go_back(session, begin.followed)
            await residence.write(session, take.site, here, begin.at_us)
            await ticks.take_over(session, runtime, info, begin.at_us)

        rows = {one.name: one for one in self._rows}
        storage = runtime.storage
        try:
            await carrying.enliven(storage, rows, late, runtime.clock, storage.cell, arrived)
        finally:
            await runtime.load_fence()

    async def _ask(self, entry: Entry, verb: str, message: Any) -> bytes:
        remote = self._runtime.remote
        assert remote is not None
        more = f"hansa-passport: {remote.passport(SYSTEM, PLATFORM, PATH + verb, True)}\r\n"
        reply = await remote.ask(
            entry, PATH + verb, more, codec.encode(message), deadline_in(STEP_S)
        )
        return reply.body


class Late:
    """The rows that are written last (see `carrying.Source`), in a file."""

    def __init__(self, file: IO[bytes], head: Head) -> None:
        self.head = head
        self.count = 0
        self._file = file

    def keep(self, table: str, rows: list[list[Any]]) -> None:
        """Keep rows of a table."""
        self.count += len(rows)
        self._file.write(codec.encode((table, rows)) + b"\n")

    def rows(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield each row with the name of its table."""
        self._file.seek(0)
        for line in self._file:
            table, rows = msgspec.json.decode(line, type=tuple[str, list[list[Any]]])
            for row in rows:
                yield table, row


def _head(take: Take, begin: Begin) -> Head:
    return Head(FORMAT, take.site, from_us(begin.at_us), begin.tables, begin.passed, ())
