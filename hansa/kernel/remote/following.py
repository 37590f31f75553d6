"""Following: the log of another cell, copied into this one's as far as anybody here subscribes.

An event keeps its name, its sequence and its instant, and gets a position here; so its subscribers,
their second tries and skips are the same as for what happened here. The copies and the position
up to which they are made are one transaction. What must never happen here: an event that is taken
twice, left out, or before an earlier one of its aggregate.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from hansa.kernel import codec, contracts, machine
from hansa.kernel.caller import SYSTEM
from hansa.kernel.commands import deadline_in
from hansa.kernel.relations import sql
from hansa.kernel.remote import feed
from hansa.kernel.remote.feed import Ask, Piece
from hansa.kernel.remote.placement import Entry
from hansa.kernel.storage import PLATFORM, Session

if TYPE_CHECKING:
    from hansa.kernel.remote.calls import Remote
    from hansa.kernel.runtime import Runtime

logger = logging.getLogger("hansa.remote")

ANSWER_S: Final = feed.WAIT_MAX_S + 10.0
TROUBLE_S: Final = 1.0
_SLOT: Final = -1
"""The cursor of a whole log stands where no slot is."""

_AT: Final = "SELECT position FROM hansa_cursors WHERE subscriber = ?1 AND slot = ?2"
_MOVE: Final = """INSERT INTO hansa_cursors (subscriber, slot, epoch, position)
VALUES (?1, ?2, 1, ?3) ON CONFLICT (subscriber, slot) DO UPDATE SET position = excluded.position"""
_COPY: Final = """INSERT INTO hansa_events (id, site, slot, epoch, aggregate, seq, type, version,
at_us, recorded_at_us, trace, cause, principal, data)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
ON CONFLICT (site, aggregate, seq) DO NOTHING"""


class Follower:
    """Follows the log of the processes of one entry, which share a cell."""

    def __init__(
        self, runtime: "Runtime", remote: "Remote", entry: Entry, types: tuple[str, ...]
    ) -> None:
        self._runtime = runtime
        self._remote = remote
        self._entry = entry
        self._types = types
        self._name = f"follow:{entry.cell}"
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin where the copies end."""
        self._task = asyncio.create_task(self._follow(), name=f"hansa-{self._name}")

    async def stop(self) -> None:
        """Stop; a piece under way is either copied or not."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        position = -1
        while True:
            try:
                if position < 0:
                    position = await self._position()
                piece = await self._ask(position)
                if piece.position > position:
                    position = await self._keep(position, piece)
            except Exception as error:
                logger.warning("the log of %s cannot be followed: %s", self._entry.name, error)
                position = -1
                await asyncio.sleep(TROUBLE_S)

    async def _ask(self, position: int) -> Piece:
        ask = Ask(self._remote.own.cell, position, self._types)
        more = f"hansa-passport: {self._remote.passport(SYSTEM, PLATFORM, feed.PATH, True)}\r\n"
        reply = await self._remote.ask(
            self._entry, feed.PATH, more, codec.encode(ask), machine.monotonic() + ANSWER_S
        )
        piece: Piece = codec.decode(reply.body, Piece)
        return piece

    async def _position(self) -> int:
        async def body(session: Session) -> int:
            rows = await session.fetch(sql(session, _AT), (self._name, _SLOT))
            return int(rows[0][0]) if rows else 0

        return await self._runtime.storage.read(
            body, site=PLATFORM, deadline=deadline_in(30), across=True
        )

    async def _keep(self, position: int, piece: Piece) -> int:
        """Copy a piece, unless another process of this cell was first; return how far we are."""
        now_us = self._runtime.clock.now_us()

        async def body(session: Session) -> int:
            rows = await session.fetch(sql(session, _AT), (self._name, _SLOT))
            at: int = rows[0][0] if rows else 0
            if at != position:
                return at
            for one in piece.events:
                row = (
                    one.id, one.site, one.slot, one.epoch, one.aggregate, one.seq, one.type,
                    one.version, one.at_us, now_us, one.trace, one.cause, one.principal, one.data,
                )  # fmt: skip
                await session.run(sql(session, _COPY), row)
            await session.run(sql(session, _MOVE), (self._name, _SLOT, piece.position))
            return piece.position

        committed = await self._runtime.storage.write(
            body, site=PLATFORM, deadline=deadline_in(30), across=True
        )
        return committed.value


def followers(runtime: "Runtime", remote: "Remote") -> list[Follower]:
    """Return who has to follow whom, so that the subscribers of this process hear all."""
    wanted: dict[str, tuple[Entry, list[str]]] = {}
    names = set(runtime.subscriptions)
    if runtime.listening:  # who listens to all events of a site, listens wherever they happen
        known = contracts.contracts_of(runtime.services)
        names |= {one.name for one in known if one.kind == "event"}
    for name in sorted(names):
        entry = remote.placement.of(name.partition(".")[0])
        if entry is not None and entry.cell != remote.own.cell:
            wanted.setdefault(entry.cell, (entry, []))[1].append(name)
    return [Follower(runtime, remote, entry, tuple(types)) for entry, types in wanted.values()]
