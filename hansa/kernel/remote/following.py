"""Following: the log of another cell, copied into this one's as far as anybody here subscribes.

An event keeps its name, its sequence and its instant, and gets a position here; so its subscribers,
their second tries and skips are the same as for what happened here. The copies and the position
up to which they are made are one transaction. Each type of event has a position of its own, so that
one that is subscribed to for the first time is copied from the beginning of the log, as a new
subscriber in one process begins there. What must never happen here: an event that is taken twice,
left out, or before an earlier one of its aggregate.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hansa.kernel import codec, machine, residence, watermarks
from hansa.kernel.caller import SYSTEM
from hansa.kernel.commands import deadline_in
from hansa.kernel.log import LogEvent
from hansa.kernel.relations import sql
from hansa.kernel.remote import feed
from hansa.kernel.remote.feed import Ask, Piece
from hansa.kernel.remote.placement import Entry
from hansa.kernel.remote.releases import heard, terse
from hansa.kernel.storage import PLATFORM, Session

if TYPE_CHECKING:
    from hansa.kernel.remote.calls import Remote
    from hansa.kernel.runtime import Runtime

logger = logging.getLogger("hansa.remote")

ANSWER_S: Final = feed.WAIT_MAX_S + 10.0
TROUBLE_S: Final = 1.0
_SLOT: Final = -1
"""The cursor of a whole log stands where no slot is."""

_AT: Final = f"""SELECT subscriber, position FROM hansa_cursors WHERE slot = {_SLOT}
AND substr(subscriber, 1, length(?1)) = ?1"""
_NAMES: Final = {
    "sqlite": "SELECT value, {slot}, 1, ?2 FROM json_each(?1) WHERE true",
    "postgresql": "SELECT name, {slot}, 1, $2::bigint FROM unnest($1::text[]) AS new (name)",
}
_MOVE: Final = """INSERT INTO hansa_cursors (subscriber, slot, epoch, position) {names}
ON CONFLICT (subscriber, slot) DO UPDATE SET position = excluded.position"""
_FOLLOWED: Final = """SELECT subscriber, position FROM hansa_cursors
WHERE slot = ?1 AND subscriber LIKE 'follow:%'"""
_BACK: Final = """INSERT INTO hansa_cursors (subscriber, slot, epoch, position)
VALUES (?1, ?2, 1, ?3) ON CONFLICT (subscriber, slot) DO UPDATE SET position = CASE
WHEN excluded.position < hansa_cursors.position THEN excluded.position
ELSE hansa_cursors.position END"""
_COPY: Final = f"""INSERT INTO hansa_events (id, site, slot, epoch, aggregate, seq, type, version,
at_us, recorded_at_us, trace, cause, principal, data)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14
WHERE NOT {watermarks.taken("?2", "?15", "?6")} ON CONFLICT (site, aggregate, seq) DO NOTHING"""


@dataclass(frozen=True, slots=True)
class Step:
    """What to ask for next: these types after a position, and up to another one unless it is 0."""

    after: int
    types: tuple[str, ...]
    until: int


def next_step(reached: Mapping[str, int]) -> Step:
    """Return what to ask for when each type is copied up to a position: what is behind catches up
    with the next one, then both go on together. Pure."""
    after, *others = sorted(set(reached.values()))
    types = tuple(sorted(name for name, position in reached.items() if position == after))
    return Step(after, types, others[0] if others else 0)


class Follower:
    """Follows the log of the processes of one entry, which share a cell."""

    def __init__(
        self, runtime: "Runtime", remote: "Remote", entry: Entry, types: tuple[str, ...]
    ) -> None:
        self._runtime = runtime
        self._remote = remote
        self._entry = entry
        self.types = types
        self._name = f"follow:{entry.cell}/"
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
        reached: dict[str, int] = {}
        while True:
            try:
                reached = reached or await self._runtime.storage.read(
                    self._reached, site=PLATFORM, deadline=deadline_in(30), across=True
                )
                step = next_step(reached)
                piece = await self._ask(step)
                # A site that came here meanwhile may have brought us back: see `go_back`.
                reached = await self._keep(step, piece) if piece.position > step.after else {}
            except Exception as error:
                logger.warning("the log of %s cannot be followed: %s", self._entry.name, error)
                reached = {}
                await asyncio.sleep(TROUBLE_S)

    async def catch_up(self) -> None:
        """Copy all that is in the log by now; `_follow` goes on beside it. Raises Problem."""
        reached = await self._runtime.storage.read(
            self._reached, site=PLATFORM, deadline=deadline_in(30), across=True
        )
        while True:
            step = next_step(reached)
            piece = await self._ask(step, at_once=True)
            if piece.position > step.after:
                reached = await self._keep(step, piece)
            elif not step.until:
                return

    async def _ask(self, step: Step, *, at_once: bool = False) -> Piece:
        own = self._remote.own
        ask = Ask(f"{own.cell}/{own.name}", step.after, step.types, step.until, at_once)
        more = f"hansa-passport: {self._remote.passport(SYSTEM, PLATFORM, feed.PATH, True)}\r\n"
        reply = await self._remote.ask(
            self._entry, feed.PATH, more, codec.encode(terse(ask)), machine.monotonic() + ANSWER_S
        )
        piece: Piece = heard(reply.body, Piece)
        return piece

    async def _reached(self, session: Session) -> dict[str, int]:
        """Read up to where each type is copied."""
        rows = await session.fetch(sql(session, _AT), (self._name,))
        known: dict[str, int] = {row[0]: row[1] for row in rows}
        return {one: known.get(self._name + one, 0) for one in self.types}

    async def _keep(self, step: Step, piece: Piece) -> dict[str, int]:
        """Copy a piece, unless another process of this cell was first; return how far we are."""
        now_us = self._runtime.clock.now_us()
        sites = [await self._runtime.site(name) for name in {one.site for one in piece.events}]

        async def body(session: Session) -> dict[str, int]:
            reached = await self._reached(session)
            if any(reached[one] != step.after for one in step.types):
                return reached
            # Of a site that is elsewhere, and of one that leaves, the cell that has it takes them.
            here = await residence.here(session, self._runtime, sites)
            for one in piece.events:
                if one.site not in here:
                    continue
                await copy(session, one, now_us)
            await self._move(session, step.types, piece.position)
            return reached | dict.fromkeys(step.types, piece.position)

        committed = await self._runtime.storage.write(
            body, site=PLATFORM, deadline=deadline_in(30), across=True
        )
        return committed.value

    async def _move(self, session: Session, types: tuple[str, ...], position: int) -> None:
        names: Any = [self._name + one for one in types]
        if session.dialect == "sqlite":
            names = codec.encode(names).decode()
        statement = _MOVE.format(names=_NAMES[session.dialect].format(slot=_SLOT))
        await session.run(statement, (names, position))


def followers(runtime: "Runtime", remote: "Remote") -> list[Follower]:
    """Return who has to follow whom, so that the subscribers of this process hear all."""
    names = set(runtime.subscriptions)
    if runtime.listening:  # who listens to all events of a site, listens wherever they happen
        every = {f"{one.name}.*" for one in runtime.services}
        names = every | {one for one in names if f"{one.partition('.')[0]}.*" not in every}
    wanted: dict[str, tuple[Entry, list[str]]] = {}
    for name in sorted(names):
        entries = remote.placement.every(name.partition(".")[0])
        if any(entry.cell == remote.own.cell for entry in entries):
            continue  # of the sites of this cell it happens here
        for entry in entries:
            wanted.setdefault(entry.cell, (entry, []))[1].append(name)
    return [Follower(runtime, remote, entry, tuple(types)) for entry, types in wanted.values()]


async def copy(session: Session, one: LogEvent, now_us: int) -> None:
    """Have an event of another cell in this one's log, unless it is, or was, there already."""
    row = (
        one.id, one.site, one.slot, one.epoch, one.aggregate, one.seq, one.type, one.version,
        one.at_us, now_us, one.trace, one.cause, one.principal, one.data,
        watermarks.name_of(one.type, one.aggregate),
    )  # fmt: skip
    await session.run(sql(session, _COPY), row)


async def followed(session: Session) -> dict[str, int]:
    """Return how far this cell has followed others, by the names of the cursors."""
    rows = await session.fetch(sql(session, _FOLLOWED), (_SLOT,))
    return {row[0]: row[1] for row in rows}


async def go_back(session: Session, reached: dict[str, int]) -> None:
    """Follow other cells anew from where another cell was, if that is before here: what a site got
    there that came over meanwhile. What is here already is not taken twice."""
    # What the other cell has not begun to follow, it has nothing of.
    for name in sorted({*reached, *await followed(session)}):
        await session.run(sql(session, _BACK), (name, _SLOT, reached.get(name, 0)))
