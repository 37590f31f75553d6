"""Mover: brings a site into another cell, step by step (see `hansa.kernel.moving.protocol`).

It keeps nothing, so it may be killed and begun again, anywhere, and there may be two of them. What
must never happen here: a step that is taken from what the mover remembers, not from what it sees.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hansa.kernel import codec, machine
from hansa.kernel.caller import SYSTEM
from hansa.kernel.commands import deadline_in
from hansa.kernel.moving import protocol
from hansa.kernel.moving.messages import PATH, Ask, MoveOutOfTurn, Sight, Take
from hansa.kernel.moving.protocol import STEPS_MAX, Home, Row, Step
from hansa.kernel.problems import Conflict, NotFound, Overloaded, Problem
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.placement import Entry, Placement
from hansa.kernel.storage import PLATFORM
from hansa.platform.sites import sites as service
from hansa.platform.sites.api.moves import (
    Place,
    get_place,
    plan_move,
    step_move,
)

STEP_S: Final = 30.0
LASTS_S: Final = 21_600.0
"""How long one move waits for its rows to be copied, and erased where they were."""
AGAIN_MAX: Final = 8
"""How often a step that was out of turn, since somebody else moves the site too, is looked at
anew."""
OWN: Final = Entry("mover", "", (), ())
"""What the mover is in the placement: nothing."""


@dataclass(slots=True)
class Moved:
    """What came of it. `pause_s` is how long nobody could write for the site, as seen from here."""

    cell: str
    epoch: int
    rows: int = 0
    pause_s: float = 0.0


@dataclass(slots=True)
class _Seen:
    """What the three keep."""

    home: Home
    test_clock: bool
    source: Row | None = None
    target: Row | None = None
    rows: bool = True


class Mover:
    """Moves sites between the cells of a placement."""

    def __init__(
        self,
        placement: Placement,
        remote: Remote,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`told` is given each step before it is taken, and again each time that what it began is
        asked for."""
        self._placement = placement
        self._remote = remote
        self._told = told
        self._fenced_at: float | None = None

    async def move(self, site: str, to: str) -> Moved:
        """Bring a site into a cell, or go on with that. Raises Problem: what stands in the way, and
        Unreachable for a process that has to be there. Then it is to be run again."""
        self._check(to)
        done = Moved(to, 0)
        ends = machine.monotonic() + LASTS_S
        steps = again = 0
        seen = await self._look(site)
        while steps < STEPS_MAX:
            step = protocol.next_step(seen.home, seen.source, seen.target, to, rows=seen.rows)
            if step == "done":
                done.epoch = seen.home.epoch
                return done
            self._told(step)
            try:
                if await self._take(step, site, to, seen, done):
                    steps += 1
                elif machine.monotonic() > ends:
                    raise Overloaded(f"{site}: {step} goes on after {LASTS_S / 3600:g} hours.")
            except Problem as problem:
                if problem.slug != MoveOutOfTurn.slug or again == AGAIN_MAX:
                    raise
                again += 1
                steps += 1
                seen = await self._look(site)
        raise Overloaded(f"{site} is moved by somebody else at the same time.", retry_after_s=1)

    def _check(self, to: str) -> None:
        """Raise NotFound or Conflict for a cell that cannot have sites of others."""
        if not self._shared(to):
            raise NotFound(f"There is no cell {to} that shares its services with another one.")

    def _shared(self, cell: str) -> list[str]:
        return [name for name in self._placement.shared(cell) if name != service.name]

    def _cell_of(self, home: Home, to: str) -> str:
        """Return the cell that a site is in. Raises Conflict where its rows are in several, or
        would be, or in one that does not serve the same."""
        cells = {entry.cell for name in self._shared(to)
                 if (entry := self._placement.of(name, home.cell)) is not None}  # fmt: skip
        if len(cells) != 1:
            raise Conflict(f"The services of {to} are in {' and '.join(sorted(cells))}.")
        cell = cells.pop()
        near, far = (self._services(one) for one in (cell, to))
        if not protocol.is_same(near, far):
            odd = sorted(set(near) ^ set(far))
            raise Conflict(f"{cell} and {to} do not serve the same: {', '.join(odd)}.")
        return cell

    def _has_platform(self, cell: str) -> bool:
        return service.name in self._placement.services_of(cell)

    def _services(self, cell: str) -> list[str]:
        return [name for name in self._placement.services_of(cell) if name != service.name]

    # ---- seeing

    async def _look(self, site: str) -> _Seen:
        place: Place = await self._call(get_place, site=site)
        seen = _Seen(place.home, place.test_clock)
        home = seen.home
        if home.move != "none":
            ways = (home.cell, home.other) if home.move == "to" else (home.other, home.cell)
            ask = Ask(site, max(1, home.epoch))
            seen.source = (await self._ask(ways[0], "look", ask)).row
            seen.target = (await self._ask(ways[1], "look", ask)).row
        return seen

    # ---- steps

    async def _take(self, step: Step, site: str, to: str, seen: _Seen, done: Moved) -> bool:
        """Take one step, and see what has become of it; return whether it is done, not only under
        way."""
        home = seen.home
        epoch = home.epoch if home.move == "from" else home.epoch + 1
        ask = Ask(site, epoch)
        if step == "plan":
            await self._plan(site, to, seen)
        elif step == "fence":
            self._fenced_at = machine.monotonic()
            seen.source = (await self._ask(home.cell, "fence", ask)).row
        elif step == "copy":
            return await self._copy(Take(site, epoch, home.cell), seen, done)
        elif step in ("flip", "finish", "unplan"):
            what = "flip" if step == "flip" else "end"
            place: Place = await self._call(step_move, site=site, step=what, epoch=epoch)
            seen.home = place.home
            if step == "flip":
                self._note_pause(done)
        elif step == "leave":
            seen.source = await self._tell(home.other, "leave", ask)
            await self._tell(home.cell, "look", ask)
        elif step == "erase":
            seen.rows = not (await self._ask(home.other, "erase", ask)).finished
            return not seen.rows
        elif step == "clear":
            seen.target = (await self._ask(home.other, "clear", ask)).row
        else:
            seen.source = await self._tell(home.cell, "keep", ask)
        return True

    def _note_pause(self, done: Moved) -> None:
        if self._fenced_at is not None:
            done.pause_s = machine.monotonic() - self._fenced_at

    async def _plan(self, site: str, to: str, seen: _Seen) -> None:
        """Look whether both cells are ready, before anybody has to wait."""
        cell = self._cell_of(seen.home, to)
        if cell == to:  # it has been there from the beginning
            seen.home = Home(to, seen.home.epoch)
            return
        if seen.test_clock and any(self._has_platform(one) for one in (cell, to)):
            raise Conflict(
                "The cell of the platform keeps the clock of this site: a site on a test clock"
                " moves between other cells.",
                slug="split-test-clock",
            )
        ask = Ask(site, max(1, seen.home.epoch))
        source, target = await self._ask(cell, "look", ask), await self._ask(to, "look", ask)
        for table, (place, has_rows) in source.outside.items():
            if has_rows and target.outside[table][0] != place:
                raise Conflict(
                    f"The bytes that {table} tells of are in {place}, and those of {to} elsewhere:"
                    " cells that share sites share their store of blobs (HANSA_BLOBS)."
                )
        seen.source, seen.target, seen.rows = source.row, target.row, True
        place_of: Place = await self._call(plan_move, site=site, cell=cell, to=to)
        seen.home = place_of.home
        seen.target = (await self._ask(to, "prepare", Ask(site, seen.home.epoch + 1))).row

    async def _copy(self, take: Take, seen: _Seen, done: Moved) -> bool:
        sight = await self._ask(seen.home.other, "take", take)
        seen.target = sight.row
        if sight.finished:
            done.rows = sight.rows or done.rows
        return sight.finished

    # ---- asking

    async def _call(self, operation: Any, **arguments: Any) -> Any:
        answer = await self._remote.invoke(
            operation, PLATFORM, SYSTEM, arguments, deadline=deadline_in(STEP_S)
        )
        return codec.decode(answer.body, operation.returns)

    async def _ask(self, cell: str, verb: str, message: Any) -> Sight:
        entry = self._placement.entry_of(cell)
        if entry is None:
            raise NotFound(f"There is no cell {cell} in the placement.")
        reply = await self._remote.ask(
            entry, PATH + verb, self._more(verb), codec.encode(message), deadline_in(STEP_S)
        )
        sight: Sight = codec.decode(reply.body, Sight)
        return sight

    async def _tell(self, cell: str, verb: str, message: Any) -> Row | None:
        """Ask all processes of a cell, of which one has to answer; return what is kept there."""
        sight = await self._ask(cell, verb, message)
        entries: Sequence[Entry] = [one for one in self._placement.entries if one.cell == cell]
        await self._remote.tell(
            entries, PATH + verb, self._more(verb), codec.encode(message), STEP_S
        )
        return sight.row

    def _more(self, verb: str) -> str:
        return f"hansa-passport: {self._remote.passport(SYSTEM, PLATFORM, PATH + verb, True)}\r\n"
