"""Leaving: what the cell does that a site is moved from.

From the fence on nobody writes for the site, so its rows can be read piece by piece, as they were
at that instant. They are read in transactions that could write: on PostgreSQL this is what undoes a
command that began before the fence and would commit behind it (see `kernel.fence`).
"""

from typing import Final

from hansa.kernel import residence, ticks
from hansa.kernel.commands import deadline_in
from hansa.kernel.keeping import carrying
from hansa.kernel.keeping.values import change, outward
from hansa.kernel.moving import protocol
from hansa.kernel.moving.messages import Ask, Begin, Part, Piece, Want
from hansa.kernel.moving.protocol import OutOfTurn, Row
from hansa.kernel.moving.side import STEP_S, Side
from hansa.kernel.relations import sql
from hansa.kernel.remote import following
from hansa.kernel.storage import PLATFORM, Session

PIECE_ROWS: Final = 1_000
_UNPLACED: Final = "SELECT 1 FROM hansa_events WHERE site = $1 AND position IS NULL LIMIT 1"


class Leaving(Side):
    """The sites that leave a cell, or have left it."""

    async def fence(self, ask: Ask) -> None:
        """Refuse every write for a site from now on. What had begun is done when this returns, or
        will be undone. Raises OutOfTurn."""
        runtime = self._runtime
        runtime.directory.forget(ask.site)
        info = await runtime.site(ask.site)

        async def body(session: Session) -> None:
            row, _, _ = await residence.read(session, ask.site)
            if row is None and not runtime.is_home(info):
                raise OutOfTurn("it has never been in this cell")
            fenced = protocol.fence(row, ask.epoch)
            if fenced != row:
                now_us = runtime.clock.now_us()
                await ticks.hand_over(session, runtime, info, now_us)
                followed = await following.followed(session)
                await residence.write(session, ask.site, fenced, now_us, followed)

        # Before the row: what comes behind it in SQLite's queue must be refused already.
        runtime.storage.fence.note(ask.site, "moving")
        await self._change(body)

    async def keep(self, ask: Ask) -> None:
        """Have a fenced site stay after all. Raises OutOfTurn."""
        runtime = self._runtime
        info = await runtime.site(ask.site)

        async def body(session: Session) -> None:
            row, at_us, followed = await residence.read(session, ask.site)
            kept = protocol.keep(row, ask.epoch)
            if row is not None and row.state == "moving":
                await following.go_back(session, followed)
                await ticks.take_over(session, runtime, info, at_us)
            await residence.write(session, ask.site, kept, at_us)

        await self._change(body)
        runtime.due.wake()
        runtime.dispatcher.wake_retry()

    async def leave(self, ask: Ask) -> None:
        """Know that a site is in the other cell. Raises OutOfTurn."""

        async def body(session: Session) -> None:
            row, at_us, _ = await residence.read(session, ask.site)
            await residence.write(session, ask.site, protocol.leave(row, ask.epoch), at_us)

        await self._change(body)

    async def erase(self, ask: Ask) -> None:
        """Erase the rows of a site that has left, in small transactions. Raises OutOfTurn."""

        async def body(session: Session) -> Row | None:
            return (await residence.read(session, ask.site))[0]

        row = await self._runtime.storage.read(
            body, site=PLATFORM, deadline=deadline_in(STEP_S), across=True
        )
        if not protocol.may_erase(row, ask.epoch):
            raise OutOfTurn("it has not left")
        await self._erase_rows(ask.site, Row("gone", ask.epoch))

    # ---- its rows

    async def begin(self, ask: Ask) -> Begin:
        """Return what a copy begins with. Raises OutOfTurn."""
        slot = (await self._runtime.site(ask.site)).slot

        async def body(session: Session) -> Begin:
            row, at_us, followed = await residence.read(session, ask.site)
            _check(row, ask.epoch)
            tables = {one.name: one.names for one in self._rows}
            passed = await carrying.passed(session, slot)
            return Begin(tables, passed, followed, at_us, await self._filled(session, ask.site))

        return await self._serializably(body)

    async def _filled(self, session: Session, site: str) -> list[int]:
        """Return the places of the tables that have rows of a site."""
        known = [place for place, one in enumerate(self._rows) if one.is_by_site]
        tables = [self._rows[place] for place in known]
        each = (f'EXISTS (SELECT 1 FROM "{one.name}" WHERE "{one.site}" = ?1)' for one in tables)
        found = await session.fetch(sql(session, f"SELECT {', '.join(each)}"), (site,))
        empty = {place for place, has_rows in zip(known, found[0], strict=True) if not has_rows}
        return [place for place in range(len(self._rows)) if place not in empty]

    async def read(self, want: Want) -> Piece:
        """Return the next rows. Raises OutOfTurn."""
        storage = self._runtime.storage
        slot = (await self._runtime.site(want.site)).slot

        async def body(session: Session) -> Piece | None:
            _check((await residence.read(session, want.site))[0], want.epoch)
            if session.dialect == "postgresql" and await session.fetch(_UNPLACED, (want.site,)):
                return None
            return await self._piece(session, want, slot)

        while True:
            await storage.sequence()
            piece = await self._serializably(body)
            if piece is not None:
                return piece

    async def _piece(self, session: Session, want: Want, slot: int) -> Piece:
        piece = Piece([])
        after, left = want.after, PIECE_ROWS
        for place in want.tables:
            one = self._rows[place]
            found = await carrying.next_rows(session, one, want.site, slot, after, left)
            if found:
                changes = outward(one.columns)
                piece.parts.append(Part(one.name, [change(row, changes) for row in found]))
            if len(found) == left:
                after = carrying.key_of(one, found[-1])
                whole = want.tables.index(place) + (after is None)
                return Piece(piece.parts, want.tables[whole:], after)
            left, after = left - len(found), None
        return piece


def _check(row: Row | None, epoch: int) -> None:
    if row != Row("moving", epoch):
        raise OutOfTurn("it is not fenced for this move")
