"""Arriving: what the cell does that a site is moved to.

It fetches the rows itself. What makes the site live is written with the row that says that it is
here, in one transaction: that commit decides the move.
"""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
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
from hansa.kernel.moving.protocol import OutOfTurn, Row
from hansa.kernel.moving.side import STEP_S, Side
from hansa.kernel.problems import Conflict
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


class Arriving(Side):
    """The sites that come into a cell."""

    def __init__(self, runtime: "Runtime", rows: Sequence[Belonging]) -> None:
        super().__init__(runtime, rows)
        self._taking: dict[Take, asyncio.Task[int]] = {}
        self._ready: dict[str, Row] = {}
        """The sites that may come, of which there is nothing here yet."""

    async def take(self, take: Take, wait_s: float) -> int | None:
        """Fetch a site; return how many rows it has, or None if that is not done in time: then it
        goes on, and is to be asked for again. Raises OutOfTurn and Problem."""
        task = self._taking.get(take)
        if task is None:
            task = asyncio.create_task(self._fetch(take), name=f"hansa-move-{take.site}")
            self._taking[take] = task
            task.add_done_callback(lambda _: self._taking.pop(take, None))
        done, _ = await asyncio.wait([task], timeout=wait_s)
        return task.result() if done else None

    async def prepare(self, ask: Ask) -> None:
        """Claim a site before it is fenced where it is, and erase what an earlier try has left, so
        that nobody has to wait for that. Raises OutOfTurn and Conflict."""
        self._ready.pop(ask.site, None)
        while len(self._ready) >= READY_MAX:
            self._ready.pop(next(iter(self._ready)))
        self._ready[ask.site] = await self._claim(ask)

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

    async def _fetch(self, take: Take) -> int:
        claimed = await self._claim(take)
        if claimed.state == "here":
            return 0
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

    async def _claim(self, ask: Ask | Take) -> Row:
        """Note that a site is coming, and erase what an earlier try has left."""
        before: Row | None = None
        claimed = Row("coming", ask.epoch)
        ready = self._ready.pop(ask.site, None)

        async def body(session: Session) -> None:
            nonlocal before, claimed
            before, at_us, _ = await residence.read(session, ask.site)
            if ready is not None and before == ready and ready.epoch == ask.epoch:
                claimed = ready
                return
            claimed = protocol.claim(before, ask.epoch, self._runtime.clock.now_us())
            if before is None:
                await self._check_empty(session, ask.site)
            if claimed.state == "coming":
                await residence.write(session, ask.site, claimed, at_us)

        await self._change(body)
        if claimed.state == "coming" and before is not None and claimed != ready:
            await self._erase_rows(ask.site, claimed)
        return claimed

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
            row, _, _ = await residence.read(session, take.site)
            if not protocol.writes(row, claimed):
                raise OutOfTurn("another copy of it, or none, is wanted by now")
            if session.dialect == "postgresql":  # durable with the commit that decides
                await session.run("SET LOCAL synchronous_commit = off")
            await carrying.write_batch(session, head, batch, self._runtime.clock)

        if batch:
            await self._serializably(body)

    async def _arrive(self, take: Take, begin: Begin, claimed: Row, late: "Late") -> None:
        runtime = self._runtime
        info = await runtime.site(take.site)

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
        self._file = file

    def keep(self, table: str, rows: list[list[Any]]) -> None:
        """Keep rows of a table."""
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
