"""Carrying: all of one site out of a cell, and into another one, of either engine.

What a site is in the middle of goes along: events that nobody has taken yet, deliveries that
failed, due work, open attempts, keys with their answers, sequences, receipts. Positions become
those of the other log, and leases are let go. Rows that make the site live come last and in one
transaction, so until then nothing happens to what is there, and a broken-off copy is erased.

What must never happen here: an event that takes effect in both cells or in none, a number that is
given twice, or half a site that somebody can call.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Sequence,
)
from dataclasses import dataclass, field
from typing import IO, Any, Final, Protocol

from hansa.kernel import residence
from hansa.kernel.clock import Clock
from hansa.kernel.commands import deadline_in
from hansa.kernel.keeping.belongings import DELIVERIES, DUE, EVENTS, Belonging, kind_of
from hansa.kernel.keeping.erasing import NO_MOVE, check_still, erase_rows, there_statements
from hansa.kernel.keeping.manifest import KeepingRefused
from hansa.kernel.keeping.ownership import check_known, check_row, check_rows
from hansa.kernel.keeping.sitefile import FORMAT, End, Head, Reader, Writer
from hansa.kernel.keeping.values import change, inward, outward
from hansa.kernel.moving.protocol import Row
from hansa.kernel.pruning import LOG_KEPT_S
from hansa.kernel.relations import sql
from hansa.kernel.schedule import from_us
from hansa.kernel.storage import PLATFORM, ConstraintFailed, Session, Storage

READ_ROWS: Final = 500
"""Rows that are in memory at once."""
WRITE_ROWS: Final = 1_000
"""Rows that one transaction writes while the site is not live."""
VALUES_MAX: Final = 600
"""Values that one statement takes on SQLite; far below what it could."""
Batch = list[tuple[Belonging, list[Any]]]
EXPORT_S: Final = 86_400.0
_PASSED: Final = """SELECT s.subscriber, max(s.floor, coalesce(c.position, 0))
FROM hansa_subscribers s LEFT JOIN hansa_cursors c
ON c.subscriber = s.subscriber AND c.slot = ?1 WHERE s.subscriber NOT LIKE 'cell:%'"""
_UNPLACED: Final = 'SELECT {} FROM hansa_events WHERE site = $1 AND position IS NULL ORDER BY "row"'
_RECEIPT: Final = """INSERT INTO hansa_receipts (subscriber, event, site, at_us)
VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING"""
_LOCK: Final = "SELECT position FROM hansa_cell WHERE cell = $1 FOR UPDATE"
_CELL: Final = """INSERT INTO hansa_cell (cell, epoch, position) VALUES ($1, 1, 0)
ON CONFLICT DO NOTHING"""
_ARRIVED: Final = "DELETE FROM hansa_sites WHERE site = ?1 AND state = 'coming' AND epoch = 0"
_MOVE: Final = "UPDATE hansa_cell SET position = $2 WHERE cell = $1"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


# ---- out


async def export(
    storage: Storage,
    rows: Sequence[Belonging],
    site: str,
    slot: int,
    out: IO[bytes],
    clock: Clock,
    *,
    master_keys: Sequence[str] = (),
) -> End:
    """Write one snapshot of a site into a stream that can be truncated. Raises KeepingRefused when
    there is no such site here."""
    await storage.sequence()

    async def body(session: Session) -> End:
        out.seek(0)
        out.truncate()
        kept, _, _ = await residence.read(session, site)
        if kept is not None and kept.state != "here":
            raise KeepingRefused(f"{site} is not whole here: it is being moved, copied or erased.")
        head = Head(
            FORMAT, site, from_us(clock.now_us()), {one.name: one.names for one in rows},
            await passed(session, slot), tuple(master_keys),
        )  # fmt: skip
        writer = Writer(out, head)
        for one in rows:
            writer.table(one.name)
            changes = outward(one.columns)
            async for row in _rows_of(session, one, site, slot):
                writer.row(one.name, change(row, changes))
        return writer.end()

    end = await storage.read(body, site=site, deadline=deadline_in(EXPORT_S), across=True)
    if not any(end.rows.values()):
        raise KeepingRefused(f"There is no site {site} in this cell.")
    return end


async def passed(session: Session, slot: int) -> dict[str, int]:
    """Return how far each subscriber of this cell is in a slot."""
    text = _PASSED if session.dialect == "sqlite" else _PASSED.replace("max(", "greatest(")
    return {row[0]: row[1] for row in await session.fetch(sql(session, text), (slot,))}


async def _rows_of(
    session: Session, one: Belonging, site: str, slot: int
) -> AsyncIterator[Sequence[Any]]:
    """Yield the rows of a site in a table, in the order of its key, a few at a time."""
    after: tuple[Any, ...] | None = None
    while True:
        found = await next_rows(session, one, site, slot, after, READ_ROWS)
        for row in found:
            if not one.key or key_of(one, row) is not None:
                yield row
        after = key_of(one, found[-1]) if len(found) == READ_ROWS else None
        if after is None:
            break
    if one.name == EVENTS and session.dialect == "postgresql":
        # What has committed since the last were numbered; they are not many.
        for row in await session.fetch(_UNPLACED.format(_quoted(one.names)), (site,)):
            yield row


async def next_rows(
    session: Session,
    one: Belonging,
    site: str,
    slot: int,
    after: tuple[Any, ...] | None,
    limit: int,
) -> Sequence[Sequence[Any]]:
    """Return the next rows of a site in a table, in the order of its key, behind one; on PostgreSQL
    events that have no position yet come last."""
    key = _quoted(one.key)
    # The log has an index that leads to the slot.
    where = f'"{one.site}" = ?1' + (f" AND slot = {slot:d}" if one.name == EVENTS else "")
    if after is not None:
        where += f" AND ({key}) > ({', '.join(f'?{n}' for n in range(3, 3 + len(after)))})"
    order = f"ORDER BY {key} " if key else ""
    text = f'SELECT {_quoted(one.names)} FROM "{one.name}" WHERE {where} {order}LIMIT ?2'
    return await session.fetch(sql(session, text), (site, limit, *(after or ())))


def key_of(one: Belonging, row: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return the key of a row, behind which there may be more; None where no others have a key: a
    table that has one row of a site, and events that have no position yet."""
    key = tuple(row[one.names.index(name)] for name in one.key)
    return key if key and key[0] is not None else None


# ---- in


class Source(Protocol):
    """A site's rows, which can be read again from the first one on."""

    head: Head

    def rows(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield each row with the name of its table."""
        ...


async def take_in(
    storage: Storage,
    rows: Sequence[Belonging],
    source: Reader,
    clock: Clock,
    *,
    cell: str,
    check_key: Callable[[str], object] = str,
    stored: Collection[str] = (),
) -> End:
    """Write a site that is not in this cell; what was left of an earlier try is erased first.

    Ids of rows of the `stored` tables lead to what is kept elsewhere under `<site>/<id>`, which
    `check_key` refuses with ValueError. Raises KeepingRefused when the site is here, was erased
    here, or has rows that are not known here, or not its own.
    """
    head = source.head
    check_known(rows, head)
    check_rows(rows, head, source.rows(), check_key, stored)
    claimed = await _claim(storage, rows, head.site, clock)
    by_name = {one.name: one for one in rows}
    batch: Batch = []

    async def arrived(session: Session) -> None:
        await _check_wanted(session, head.site, claimed)
        await session.run(sql(session, _ARRIVED), (head.site,))

    try:
        for name, values in source.rows():
            one = by_name.get(name)
            if one is None or one.live:
                continue
            batch.append((one, values))
            if len(batch) == WRITE_ROWS:
                await _write(storage, head, batch, clock, claimed)
                batch = []
        await _write(storage, head, batch, clock, claimed)
        await enliven(storage, by_name, source, clock, cell, arrived)
    except ConstraintFailed as error:
        await _erase_own(storage, rows, head.site, claimed)
        await storage.write(arrived, site=PLATFORM, deadline=deadline_in(EXPORT_S), across=True)
        raise KeepingRefused(
            f"{head.site} does not go into this cell ({error}): another site here has a host or a"
            " key of it. Nothing of it is here."
        ) from error
    return source.end


async def _erase_own(storage: Storage, rows: Sequence[Belonging], site: str, claimed: Row) -> None:
    """Erase what an import has written, but nothing of one that has begun since."""

    async def still(session: Session) -> None:
        await _check_wanted(session, site, claimed)

    await erase_rows(storage, rows, site, still)


async def _claim(storage: Storage, rows: Sequence[Belonging], site: str, clock: Clock) -> Row:
    """Note that a site is coming, and erase what an earlier import has left of it; return what is
    kept of it then. Raises KeepingRefused when it is here, or on its way, or never comes back."""

    async def body(session: Session) -> tuple[Row | None, Row]:
        before, _, _ = await residence.read(session, site)
        _check_may_come(site, before)
        if before is None or before.state == "gone":
            for text in there_statements(rows):
                if await session.fetch(sql(session, text), (site,)):
                    raise KeepingRefused(_there(site, before))
        # Another one than of an import that is under way, which can write nothing more.
        token = max(clock.now_us(), 0 if before is None else before.token + 1)
        claimed = Row("coming", NO_MOVE, token)
        await residence.write(session, site, claimed, token)
        return before, claimed

    done = await storage.write(body, site=PLATFORM, deadline=deadline_in(EXPORT_S), across=True)
    before, claimed = done.value
    if before is not None and before.state == "coming":
        await _erase_own(storage, rows, site, claimed)
    return claimed


def _check_may_come(site: str, row: Row | None) -> None:
    """Raise KeepingRefused where a site is whole, or not this import's to bring."""
    if row is None or row.state == "gone":
        return
    if row.state in ("going", "erased"):
        raise KeepingRefused(f"{site} was erased here, and never comes back.")
    check_still(site, row)
    if row.state == "here":
        raise KeepingRefused(_there(site, row))


def _there(site: str, row: Row | None) -> str:
    if row is None or row.state == "here":
        return f"{site} is in this cell already."
    return (
        f"{site} has moved to another cell, and this one still has rows of it; `hansa sites move`"
        " brings it back."
    )


async def _check_wanted(session: Session, site: str, claimed: Row) -> None:
    """Raise KeepingRefused when another import of a site has begun meanwhile, or a move."""
    row, _, _ = await residence.read(session, site, lock=True)  # a newer claim waits for us
    if row != claimed:
        raise KeepingRefused(f"{site} is brought here by somebody else, too; this import is over.")


async def _write(storage: Storage, head: Head, batch: Batch, clock: Clock, claimed: Row) -> None:
    async def body(session: Session) -> None:
        await _check_wanted(session, head.site, claimed)
        await write_batch(session, head, batch, clock)

    if batch:
        await storage.write(body, site=PLATFORM, deadline=deadline_in(EXPORT_S), across=True)


async def write_batch(session: Session, head: Head, batch: Batch, clock: Clock) -> None:
    """Write rows that do not make the site live. Raises KeepingRefused for one of another site."""
    for one, values in batch:
        check_row(head, one, values)
    for one, group in _grouped(batch):
        _stamp(one, head.tables[one.name], group, clock)
        await _insert(session, one, head.tables[one.name], group)


def _grouped(
    batch: Iterable[tuple[Belonging, list[Any]]],
) -> Iterator[tuple[Belonging, list[list[Any]]]]:
    """Yield rows of one table together, at most READ_ROWS, in their order."""
    group: list[list[Any]] = []
    before: Belonging | None = None
    for one, values in batch:
        if before is not None and (one is not before or len(group) == READ_ROWS):
            yield before, group
            group = []
        before = one
        group.append(values)
    if before is not None:
        yield before, group


def _stamp(one: Belonging, names: Sequence[str], rows: Sequence[list[Any]], clock: Clock) -> None:
    """Have rows be in the log from now on."""
    if one.since:
        at, now_us = names.index(one.since), clock.now_us()
        for row in rows:
            row[at] = now_us


def _let_go(one: Belonging, names: Sequence[str], rows: Sequence[list[Any]], clock: Clock) -> None:
    """Have what a process had in hand be ready at once, not when its lease would be over."""
    if one.name == DUE:
        holder, ready = names.index("holder"), names.index("ready_at_us")
        for row in rows:
            if row[holder]:
                row[ready] = clock.now_us()


async def _insert(
    session: Session, one: Belonging, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Insert rows whose values are in the order of `names`."""
    columns = [one.table.columns[name] for name in names]
    changes = inward(one, columns)
    ready = [change(row, changes) for row in rows]
    head = f'INSERT INTO "{one.name}" ({_quoted(names)})'
    if session.dialect == "sqlite":
        width = max(1, VALUES_MAX // len(names))
        for first in range(0, len(ready), width):
            several = ready[first : first + width]
            marks = ", ".join([f"({', '.join('?' * len(names))})"] * len(several))
            await session.run(f"{head} VALUES {marks}", [one for row in several for one in row])
        return
    arrays = ", ".join(f"${n + 1}::{kind_of(column)}[]" for n, column in enumerate(columns))
    await session.run(
        f"{head} SELECT * FROM unnest({arrays})",
        [list(values) for values in zip(*ready, strict=True)],
    )


# ---- the last transaction


@dataclass
class _Places:
    """Positions of the site's events: in the log that they come from, and from `first` on here."""

    first: int = 0
    old: "array[int]" = field(default_factory=lambda: array("q"))

    def of_event(self, position: int) -> int:
        """Return where the event at a position is now; if it is gone, where it would be."""
        return self.first + bisect_left(self.old, position)

    def behind(self, position: int) -> int:
        """Return the position here that all events up to a position are not behind."""
        return self.first + bisect_right(self.old, position) - 1


async def enliven(
    storage: Storage,
    rows: dict[str, Belonging],
    source: Source,
    clock: Clock,
    cell: str,
    arrived: Callable[[Session], Awaitable[None]],
) -> None:
    """Write what makes the site live, all or nothing, and note that it has `arrived`. The source is
    read anew with every try."""

    async def body(session: Session) -> None:
        places = _Places(await _next_position(session, cell))
        head = source.head
        late: list[tuple[Belonging, list[Any]]] = []
        live = _live_rows(rows, source, places, late)
        for one, group in _grouped(live):
            if one.name == EVENTS:
                await _note_passed(session, head, group, places, clock)
            _stamp(one, head.tables[one.name], group, clock)
            _let_go(one, head.tables[one.name], group, clock)
            await _insert(session, one, head.tables[one.name], group)
        for one, values in late:
            await _correct(session, one, head.tables[one.name], values, places)
        if session.dialect == "postgresql":
            await session.run(_MOVE, (cell, places.first + len(places.old) - 1))
        await arrived(session)

    await storage.write(body, site=PLATFORM, deadline=deadline_in(EXPORT_S), across=True)


async def _next_position(session: Session, cell: str) -> int:
    """Return the position of the next event, which nobody else can be given before the commit: on
    PostgreSQL as the sequencer does it, on SQLite as the one writer."""
    if session.dialect == "sqlite":
        found = await session.fetch("SELECT seq FROM sqlite_sequence WHERE name = 'hansa_events'")
        return int(found[0][0]) + 1 if found else 1
    found = await session.fetch(_LOCK, (cell,))
    if not found:
        await session.run(_CELL, (cell,))
        found = await session.fetch(_LOCK, (cell,))
    return int(found[0][0]) + 1


def _live_rows(
    rows: dict[str, Belonging],
    source: Source,
    places: _Places,
    late: list[tuple[Belonging, list[Any]]],
) -> Iterator[tuple[Belonging, list[Any]]]:
    """Yield the rows that make a site live, with positions of this log, and keep in `late` those
    quiet ones that have a position in them."""
    tables = source.head.tables
    for name, values in source.rows():
        one = rows.get(name)
        if one is None:
            continue
        check_row(source.head, one, values)
        if one.positions:
            late.append((one, values))
        if not one.live:
            continue
        if name == EVENTS:
            at = tables[name].index("position")
            # Not numbered yet where it comes from, so behind all that is.
            old = values[at] if values[at] is not None else (places.old or [0])[-1] + 1
            values[at] = places.first + len(places.old)
            places.old.append(old)
        elif name == DELIVERIES:
            at = tables[name].index("position")
            values[at] = places.of_event(values[at])
        yield one, values


async def _note_passed(
    session: Session,
    head: Head,
    group: Sequence[Sequence[Any]],
    places: _Places,
    clock: Clock,
) -> None:
    """Write receipts for events that are older than receipts are kept, and that were passed: they
    must not take effect once more. Those of younger ones are among the rows."""
    names = head.tables[EVENTS]
    identity, at, recorded = (names.index(n) for n in ("id", "position", "recorded_at_us"))
    old_us = clock.now_us() - (LOG_KEPT_S - 86_400) * 1_000_000
    for row in group:
        if row[recorded] >= old_us:
            continue
        position = places.old[row[at] - places.first]
        for subscriber, passed in head.passed.items():
            if position <= passed:
                arguments = (subscriber, row[identity], head.site, clock.now_us())
                await session.run(sql(session, _RECEIPT), arguments)


async def _correct(
    session: Session, one: Belonging, names: Sequence[str], values: Sequence[Any], places: _Places
) -> None:
    """Give a row the positions of this log; 0 is none."""
    for name in one.positions:
        if name not in names:  # the release that wrote it had none
            continue
        position = values[names.index(name)]
        if not position:
            continue
        key = [one.site, *one.key]
        where = " AND ".join(f'"{part}" = ?{number}' for number, part in enumerate(key, start=2))
        text = f'UPDATE "{one.name}" SET "{name}" = ?1 WHERE {where}'
        arguments = (max(1, places.behind(position)), *(values[names.index(n)] for n in key))
        await session.run(sql(session, text), arguments)
