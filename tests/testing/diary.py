"""A service that hears of what is baked, writes it down, and hears of what it wrote."""

from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import PUBLIC
from hansa.kernel.service import Service
from hansa.kernel.structs import Event
from tests.testing.bakery import Baked, get_price

diary = Service("diary", owner="tests", package=__name__)
days = diary.table("days", text("name", primary=True), integer("value"))
how_many = select(days.c.value).where(days.c.name == param("name"))
count_up = upsert(
    days, key=("name",), values={"name": param("name"), "value": 1},
    change={"value": days.c.value + 1},
)  # fmt: skip


class Noted(Event, aggregate="id"):
    """It is in the diary."""

    id: ID


@diary.on(Baked)
async def note(ctx: Context, event: Baked) -> None:
    await ctx.db.run(count_up, name=event.name)
    ctx.emit(Noted(event.id))


@diary.on(Noted)
async def hear_oneself(ctx: Context, event: Noted) -> None:
    await ctx.db.run(count_up, name="noted")


@diary.query("GET /days/{name}", needs=PUBLIC)
async def count(ctx: Context, name: str) -> int:
    return await ctx.db.value(how_many, int, name=name) or 0


@diary.query("GET /worth/{name}", needs=PUBLIC)
async def worth(ctx: Context, name: str) -> int:
    return await count(ctx, name) * await ctx.call(get_price, name)
