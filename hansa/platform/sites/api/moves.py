"""Moves: where a site's rows are, and where it is going (see `hansa.kernel.moving.protocol`).

For whoever moves sites between the cells of a league: `hansa sites move`.
"""

from dataclasses import replace
from typing import Literal

from hansa.kernel.compiler import param, select
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.moving import protocol
from hansa.kernel.moving.messages import MoveOutOfTurn
from hansa.kernel.moving.protocol import Home, OutOfTurn
from hansa.kernel.problems import NotFound
from hansa.kernel.structs import Struct
from hansa.platform.sites import sites as service
from hansa.platform.sites import tables
from hansa.platform.sites.api.events import SiteMoved
from hansa.platform.sites.process import directory_of


class Place(Struct):
    """The cell of a site, "" for the first that serves a service, and the move it is in, if any."""

    cell: str
    epoch: int
    move: Literal["none", "to", "from"]
    move_cell: str
    test_clock: bool

    @property
    def home(self) -> Home:
        """Return it as the protocol has it."""
        return Home(self.cell, self.epoch, self.move, self.move_cell)


_c = tables.sites.c
_place = select(_c.cell, _c.epoch, _c.move, _c.move_cell, _c.test_clock).where(_c.id == param("id"))


async def _find(ctx: Context, site: ID) -> Place:
    found = await ctx.db.first(_place, Place, id=site)
    if found is None:
        raise NotFound(f"There is no site {site[:64]}.")
    return found


@service.query(needs="platform.sites:move", scope="platform")
async def get_place(ctx: Context, site: ID) -> Place:
    """Return where a site is. Raises NotFound."""
    return await _find(ctx, site)


@service.command(needs="platform.sites:move", scope="platform")
async def plan_move(ctx: Context, site: ID, cell: str, to: str) -> Place:
    """Note that a site, whose cell is `cell`, goes to another. Raises NotFound, and Conflict where
    it is elsewhere or in another move."""
    before = await _find(ctx, site)
    home = before.home
    if home.cell not in ("", cell):
        raise MoveOutOfTurn(f"{site} is in {home.cell}, not in {cell}.")
    try:
        after = protocol.plan(replace(home, cell=cell), to)
    except OutOfTurn as late:
        raise MoveOutOfTurn(f"{site}: {late}.") from None
    return await _become(ctx, site, before, after)


@service.command(needs="platform.sites:move", scope="platform")
async def step_move(ctx: Context, site: ID, step: Literal["flip", "end"], epoch: int) -> Place:
    """Have everybody find a site where it went (`flip`), or be done with its move (`end`). Raises
    NotFound, and Conflict where that is not its turn."""
    before = await _find(ctx, site)
    home = before.home
    try:
        after = protocol.flip(home, epoch) if step == "flip" else protocol.end(home, epoch)
    except OutOfTurn as late:
        raise MoveOutOfTurn(f"{site}: {late}.") from None
    if after.cell != home.cell:
        ctx.emit(SiteMoved(site, after.cell, after.epoch))
    return await _become(ctx, site, before, after)


async def _become(ctx: Context, site: ID, before: Place, home: Home) -> Place:
    directory_of(ctx).changing(site)
    await ctx.db.update(
        tables.sites, site, cell=home.cell, epoch=home.epoch, move=home.move, move_cell=home.other
    )
    return Place(home.cell, home.epoch, home.move, home.other, before.test_clock)
