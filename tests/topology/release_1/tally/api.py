"""What may be asked of the tally, in release 1."""

from hansa.kernel.compiler import param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import Conflict
from hansa.kernel.structs import Struct
from tests.topology.release_1.porter.api import ParcelTaken, get_lane
from tests.topology.release_1.tally import tally
from tests.topology.release_1.tally.tables import sums

_last = select(sums.c.last).where(sums.c.lane == param("lane"))
_count = upsert(
    sums, key=("lane",), values={"lane": param("lane"), "parcels": 1, "last": param("number")},
    change={"parcels": sums.c.parcels + 1, "last": param("number")},
)  # fmt: skip
_sum = select(sums.c.lane, sums.c.parcels, sums.c.last).where(sums.c.lane == param("lane"))


class Sum(Struct):
    """A lane: how many of its parcels were heard of, and the number of the last one."""

    lane: str
    parcels: int
    last: int


class Both(Struct):
    """How many parcels the porter has taken, and how many the tally has heard of."""

    taken: int
    heard: int


@tally.on(ParcelTaken)
async def count_parcel(ctx: Context, event: ParcelTaken) -> None:
    """Count a parcel. Raises Conflict for one that is out of its order."""
    if event.number != 1 + (await ctx.db.first(_last, int, lane=event.lane) or 0):
        raise Conflict(f"{event.lane}: {event.number} is not the next")
    await ctx.db.run(_count, lane=event.lane, number=event.number)


@tally.query("GET /lanes/{lane}", needs=PUBLIC)
async def get_sum(ctx: Context, lane: str) -> Sum:
    """Return what was heard of a lane. Raises NotFound."""
    return await ctx.db.one(_sum, Sum, lane=lane)


@tally.query("GET /both/{lane}", needs=PUBLIC)
async def compare(ctx: Context, lane: str) -> Both:
    """Return what was taken, and what was heard of it. Raises NotFound."""
    heard = await ctx.db.first(_sum, Sum, lane=lane)
    taken = await ctx.call(get_lane, lane=lane)
    return Both(taken.parcels, heard.parcels if heard else 0)
