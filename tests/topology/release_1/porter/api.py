"""What may be asked of the porter, in release 1."""

from hansa.kernel.compiler import param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.operation import PUBLIC
from hansa.kernel.structs import Event, Struct
from tests.topology.release_1.porter import porter
from tests.topology.release_1.porter.tables import lanes

_take = upsert(
    lanes, key=("lane",),
    values={"lane": param("lane"), "parcels": 1, "hint": "fragile"},
    change={"parcels": lanes.c.parcels + 1, "hint": "fragile"}, returning=(lanes.c.parcels,),
)  # fmt: skip
_lane = select(lanes.c.lane, lanes.c.parcels).where(lanes.c.lane == param("lane"))


class ParcelTaken(Event, aggregate="lane"):
    """A lane has one more parcel."""

    lane: str
    number: int


class NewParcel(Struct):
    """A parcel for a lane."""

    lane: str


class Lane(Struct):
    """A lane, and how many parcels it has had."""

    lane: str
    parcels: int


@porter.command("POST /parcels", needs=PUBLIC, status=201, serial_by=lambda body: body.lane)
async def take_parcel(ctx: Context, body: NewParcel) -> Lane:
    """Take a parcel."""
    number = await ctx.db.value(_take, int, lane=body.lane) or 0
    ctx.emit(ParcelTaken(body.lane, number))
    return Lane(body.lane, number)


@porter.query("GET /lanes/{lane}", needs=PUBLIC)
async def get_lane(ctx: Context, lane: str) -> Lane:
    """Return a lane. Raises NotFound."""
    return await ctx.db.one(_lane, Lane, lane=lane)
