"""Ships arrive, are towed in and unloaded; something goes wrong with those that weigh nothing.

A service of the tests, so that there is something to see on the pages.
"""

from hansa.kernel.context import Context
from hansa.kernel.service import Service
from hansa.kernel.structs import Event, Struct
from hansa.platform.mail.api import Letter, queue_mail

quay = Service("quay", owner="quays", package=__name__)


class ShipArrived(Event, aggregate="name"):
    """A ship lies at the quay."""

    name: str
    tonnes: int


class Ship(Struct):
    """A ship: its name and what it carries."""

    name: str
    tonnes: int


class Fleet(Struct):
    """Ships that come empty, by name."""

    names: tuple[str, ...]


@quay.command("POST /fleets", needs="quay.ships:write", status=201)
async def sail_in(ctx: Context, body: Fleet) -> None:
    """Have a whole fleet arrive."""
    for name in body.names:
        ctx.emit(ShipArrived(name, 0))


@quay.command("POST /ships", needs="quay.ships:write", status=201)
async def arrive(ctx: Context, body: Ship) -> Ship:
    """Have a ship arrive."""
    ctx.emit(ShipArrived(body.name, body.tonnes))
    ctx.schedule(tow, at=ctx.now, id=f"tow:{body.name}", name=body.name, tonnes=body.tonnes)
    html = f"<h1>{body.name}</h1><p style='color: navy'>It is here.</p>"
    queue_mail(ctx, Letter(("pilot@quay.example",), f"{body.name} is here", "It is here.", html))
    return body


@quay.on(ShipArrived, backoff_s=())
async def unload(ctx: Context, event: ShipArrived) -> None:
    """Unload it."""
    if event.tonnes <= 0:
        raise ValueError(f"{event.name} carries nothing")


@quay.due("quay.tow", backoff_s=())
async def tow(ctx: Context, name: str, tonnes: int) -> None:
    """Tow it in."""
    if tonnes <= 0:
        raise ValueError(f"{name} cannot be found")
