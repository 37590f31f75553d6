"""Erasing: every row of a site out of a cell, in small transactions, and never back.

First it is noted that the site goes, so that nothing more is begun for it; then rows go in batches,
until a whole pass finds none. A broken-off erasure is begun again and finds less. What stays is the
note that there was such a site.
What must never happen here: a row that is left behind, or one of another site.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from hansa.kernel import codec, residence
from hansa.kernel.clock import Clock
from hansa.kernel.commands import deadline_in
from hansa.kernel.fence import SiteErased
from hansa.kernel.keeping.belongings import EVENTS, Belonging, kind_of
from hansa.kernel.keeping.manifest import KeepingRefused
from hansa.kernel.moving.protocol import Row
from hansa.kernel.relations import sql
from hansa.kernel.storage import PLATFORM, Session, Storage

BATCH: Final = 500
WAIT_S: Final = 60.0
PASSES_MAX: Final = 20
NO_MOVE: Final = 0
"""The epoch of what is kept of a site that came from a file, not by a move."""
_NOTE: Final = """INSERT INTO hansa_sites (site, state, at_us) VALUES (?1, ?2, ?3)
ON CONFLICT (site) DO UPDATE SET state = excluded.state, at_us = excluded.at_us"""
_TOLD: Final = """DELETE FROM hansa_deliveries WHERE site = ?1 AND event IN (
SELECT id FROM hansa_events WHERE site = ?1 AND aggregate = ?2)"""
_TELLING: Final = "DELETE FROM hansa_events WHERE site = ?1 AND aggregate = ?2"
# Whoever repeats a request is told that the site is gone: were its key forgotten, the request would
# have effect once more. What one command leaves is of one instant, also where a sealed answer does
# not say of which site it is.
_ANSWERED: Final = """UPDATE hansa_keys SET status = ?3, answer = ?4, sealed = 0
WHERE site = ?1 AND status <> 0 AND (created_at_us IN
(SELECT recorded_at_us FROM hansa_events WHERE site = ?1 AND aggregate = ?2)
OR (sealed = 0 AND {within} > 0))"""
_WITHIN: Final = {"sqlite": "instr(answer, ?5)", "postgresql": "position(?5 in answer)"}

Still = Callable[[Session], Awaitable[None]]
"""Raises when rows are not to be erased any more; asked in each transaction that erases some."""


class StillWritten(Exception):
    """Somebody goes on writing rows of a site that is being erased."""


def check_still(site: str, row: Row | None) -> None:
    """Raise KeepingRefused for a site that is in the middle of a move."""
    if row is not None and (
        row.state == "moving" or (row.state == "coming" and row.epoch != NO_MOVE)
    ):
        raise KeepingRefused(
            f"{site} is being moved: finish the move, or take it back, with `hansa sites move`"
            " first."
        )


async def write_state(session: Session, site: str, state: str, now_us: int) -> None:
    """Note what a site is in this cell."""
    await session.run(sql(session, _NOTE), (site, state, now_us))


async def note(storage: Storage, site: str, state: str, now_us: int) -> None:
    """Note what a site is in this cell, in a transaction of its own."""

    async def body(session: Session) -> None:
        await write_state(session, site, state, now_us)

    await storage.write(body, site=PLATFORM, deadline=deadline_in(WAIT_S), across=True)


async def erase(
    storage: Storage,
    rows: Sequence[Belonging],
    site: str,
    clock: Clock,
    *,
    settle: Callable[[], Awaitable[None]] | None = None,
    scrub: Callable[[], Awaitable[None]] | None = None,
    cell: str = "",
    rest: bool = False,
) -> dict[str, int]:
    """Erase a site for good; return how many rows of which table went.

    `settle` is done once nothing is begun for the site any more, before its rows go: it waits for
    what other processes have under way, and takes away what only rows tell of. `scrub` takes out
    what is left of the rows in the engine's files, before the site counts as erased. `cell` is
    where the site has moved to, as far as that is known, and `rest` says that it is erased there
    already. Raises KeepingRefused when there is no such site (any more), or it is in another cell
    or on the way to one; and StillWritten.
    """
    there = await has_rows(storage, rows, site)
    home = await has_rows(storage, [one for one in rows if one.platform], site)

    async def begin(session: Session) -> None:
        row, _, _ = await residence.read(session, site)
        check_still(site, row)
        state = None if row is None else row.state
        if state == "gone" and not (home and rest):
            raise KeepingRefused(_left(site, cell, there=there, home=home))
        if state in (None, "erased") and not there:
            raise KeepingRefused(
                f"There is no site {site} in this cell{': it is erased already' if state else ''}."
            )
        if state != "erased":
            await write_state(session, site, "going", clock.now_us())

    await storage.write(begin, site=PLATFORM, deadline=deadline_in(WAIT_S), across=True)
    if settle is not None:
        await settle()
    gone = await erase_rows(storage, rows, site)
    gone[f"{EVENTS} of the platform"] = await erase_telling(storage, rows, site)
    if scrub is not None:
        await scrub()
    await note(storage, site, "erased", clock.now_us())
    return gone


def _left(site: str, cell: str, *, there: bool, home: bool) -> str:
    """Return what is to be done about a site that has moved to another cell."""
    told = f"{site} has moved to {f'the cell {cell}' if cell else 'another cell'}: erase it there"
    if home:
        return f"{told} first, and then with --rest what is kept of it here."
    if there:
        return f"{told}, and finish the move, which takes what is left of it from here."
    return f"{told}. This cell has nothing of it."


async def has_rows(storage: Storage, rows: Sequence[Belonging], site: str) -> bool:
    """Tell whether there is anything of a site, where that can be told by an index."""

    async def body(session: Session) -> bool:
        return any(
            [await session.fetch(sql(session, text), (site,)) for text in there_statements(rows)]
        )

    return await storage.read(body, site=PLATFORM, deadline=deadline_in(WAIT_S), across=True)


def there_statements(rows: Sequence[Belonging]) -> list[str]:
    """Return statements that find a row of a site, one for each table ordered by site."""
    return [
        f'SELECT 1 FROM "{one.name}" WHERE "{one.site}" = ?1 LIMIT 1'
        for one in rows
        if one.is_by_site
    ]


async def erase_rows(
    storage: Storage, rows: Sequence[Belonging], site: str, still: Still | None = None
) -> dict[str, int]:
    """Erase all rows of a site, those that make it live first; return how many of which table.

    Raises StillWritten when there are always more, and what `still` raises.
    """
    live = [one for one in rows if one.live and not one.platform]
    home = [one for one in rows if one.platform]
    quiet = [one for one in rows if not one.live]
    gone: dict[str, int] = {}
    for _ in range(PASSES_MAX):
        found = 0
        for one in (*live, *reversed(quiet), *reversed(home)):
            count = await _erase_table(storage, one, site, still)
            gone[one.name] = gone.get(one.name, 0) + count
            found += count
        if not found:
            return gone
    raise StillWritten(f"{site}: rows come back as often as they are erased")


async def erase_telling(storage: Storage, rows: Sequence[Belonging], site: str) -> int:
    """Erase what the platform's log tells of a site, how it was named and what it was set to, and
    the answers that the platform keeps for who repeats a request about it."""
    services = sorted({one.table.info["service"] for one in rows if one.platform})
    gone = SiteErased("There is no such site.")
    answer = codec.encode(gone.document())

    async def body(session: Session) -> int:
        answered = sql(session, _ANSWERED.format(within=_WITHIN[session.dialect]))
        count = 0
        for service in services:
            arguments = (PLATFORM, f"{service}:{site}")
            await session.run(answered, (*arguments, gone.status, answer, site.encode()))
            await session.run(sql(session, _TOLD), arguments)
            count += await session.run(sql(session, _TELLING), arguments)
        return count

    done = await storage.write(body, site=PLATFORM, deadline=deadline_in(WAIT_S), across=True)
    return done.value


async def _erase_table(storage: Storage, one: Belonging, site: str, still: Still | None) -> int:
    total = 0
    after: Sequence[Any] = ()
    while True:
        count, after = await _erase_batch(storage, one, site, after, still)
        total += count
        if count < BATCH:
            return total


async def _erase_batch(
    storage: Storage, one: Belonging, site: str, after: Sequence[Any], still: Still | None
) -> tuple[int, Sequence[Any]]:
    """Erase the next rows of a table; return how many, and the key that they end with."""
    key = ", ".join(f'"{name}"' for name in _key(one))
    width = len(_key(one))
    marks = ", ".join(f"?{number}" for number in range(2, 2 + width))
    beyond = f"AND ({key}) > ({marks})" if after else ""
    find = (
        f'SELECT {key} FROM "{one.name}" WHERE "{one.site}" = ?1 {beyond} ORDER BY {key}'
        f" LIMIT {BATCH}"
    )
    names = enumerate(_key(one), start=2)
    each = " AND ".join(f'"{name}" = ?{number}' for number, name in names)
    erase = f'DELETE FROM "{one.name}" WHERE "{one.site}" = ?1 AND {each}'

    async def look(session: Session) -> Sequence[Sequence[Any]]:
        return await session.fetch(sql(session, find), (site, *after))

    async def body(session: Session) -> None:
        if still is not None:
            await still(session)
        if session.dialect == "postgresql":  # at once, not a round trip for each
            keys = [list(part) for part in zip(*found, strict=True)]
            await session.run(_at_once(one), (site, *keys))
            return
        for row in found:
            await session.run(sql(session, erase), (site, *row))

    # Looked for outside of the transaction: some tables have no order by site, and a scan inside of
    # one would conflict with everybody who writes.
    found = await storage.read(look, site=PLATFORM, deadline=deadline_in(WAIT_S), across=True)
    if found:
        await storage.write(body, site=PLATFORM, deadline=deadline_in(WAIT_S), across=True)
    return len(found), tuple(found[-1]) if found else ()


def _at_once(one: Belonging) -> str:
    """Return the statement that erases many rows of a table on PostgreSQL."""
    kinds = [kind_of(one.table.columns[name]) for name in _key(one)]
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(kinds, start=2))
    names = ", ".join(f"k{number}" for number in range(len(kinds)))
    same = " AND ".join(f't."{name}" = gone.k{n}' for n, name in enumerate(_key(one)))
    return (
        f'DELETE FROM "{one.name}" AS t USING unnest({arrays}) AS gone ({names})'
        f' WHERE t."{one.site}" = $1 AND {same}'
    )


def _key(one: Belonging) -> tuple[str, ...]:
    """Return what tells the rows of a site apart."""
    if one.name == EVENTS:  # on PostgreSQL an event may have no position yet
        return ("aggregate", "seq")
    return one.key or (one.site,)
