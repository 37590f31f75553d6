"""A service whose event, due work and action have come to version 2, for tests of old rows."""

from typing import Any, Final

from hansa.kernel.context import Context
from hansa.kernel.service import Service
from hansa.kernel.structs import Event

shelf = Service("shelf", owner="kernel", package=__name__)

SEEN: Final[list[tuple[str, str]]] = []


class Filed(Event, aggregate="name", version=2):
    name: str
    room: str


@shelf.upcast("shelf.filed", 1)
def filed_somewhere(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "room": "attic"}


@shelf.on(Filed)
async def note(ctx: Context, event: Filed) -> None:
    SEEN.append((event.name, event.room))


@shelf.due("shelf.dust", version=2)
async def dust(ctx: Context, name: str, room: str) -> None:
    SEEN.append((name, room))


@shelf.upcast("shelf.dust", 1)
def dust_somewhere(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "room": "cellar"}
