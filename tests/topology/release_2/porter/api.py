"""What may be asked of the porter, in release 2: parcels have a weight, and lanes are weighed."""

from typing import Any

from hansa.kernel.compiler import param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.operation import PUBLIC
from hansa.kernel.structs import Event, Struct
from tests.topology.release_2.porter import porter
from tests.topology.release_2.porter.tables import lanes

_take = upsert(
    lanes, key=("lane",),
    values={"lane": param("lane"), "parcels": 1, "weight_g": param("weight_g")},
    change={"parcels": lanes.c.parcels + 1, "weight_g": lanes.c.weight_g + param("weight_g")},
    returning=(lanes.c.parcels,),
)  # fmt: skip
_lane = select(lanes.c.lane, lanes.c.parcels, lanes.c.weight_g).where(lanes.c.lane == param("lane"))


class ParcelTaken(Event, aggregate="lane", version=2):
    """A lane has one more parcel."""

    lane: str
    number: int
    weight_g: int


class LaneWeighed(Event, aggregate="lane"):
    """Somebody wanted to know what a lane weighs."""

    lane: str
    weight_g: int


@porter.upcast("porter.parcel_taken", 1)
def weigh_nothing(data: dict[str, Any]) -> dict[str, Any]:
    """Lift what the first release has told."""
    return {**data, "weight_g": 0}


class NewParcel(Struct):
    """A parcel for a lane."""

    lane: str
    weight_g: int = 100


class Lane(Struct):
    """A lane, how many parcels it has had, and what they weigh together."""

    lane: str
    parcels: int
    weight_g: int = 0


@porter.command("POST /parcels", needs=PUBLIC, status=201, serial_by=lambda body: body.lane)
async def take_parcel(ctx: Context, body: NewParcel) -> Lane:
    """Take a parcel."""
    number = await ctx.db.value(_take, int, lane=body.lane, weight_g=body.weight_g) or 0
    ctx.emit(ParcelTaken(body.lane, number, body.weight_g))
    return Lane(body.lane, number)


@porter.query("GET /lanes/{lane}", needs=PUBLIC)
async def get_lane(ctx: Context, lane: str) -> Lane:
    """Return a lane. Raises NotFound."""
    return await ctx.db.one(_lane, Lane, lane=lane)


@porter.command("POST /lanes/{lane}/weigh", needs=PUBLIC, serial_by=lambda lane: lane)
async def weigh_lane(ctx: Context, lane: str) -> Lane:
    """Weigh a lane. Raises NotFound."""
    found = await ctx.db.one(_lane, Lane, lane=lane)
    ctx.emit(LaneWeighed(lane, found.weight_g))
    return found
