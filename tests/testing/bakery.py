"""A service that tells of what it bakes."""

from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import param, select
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import INTERNAL
from hansa.kernel.problems import NotFound
from hansa.kernel.service import Service
from hansa.kernel.structs import Event

bakery = Service("bakery", owner="tests", package=__name__)
breads = bakery.table("breads", text("name", primary=True), integer("price"))
price_of = select(breads.c.price).where(breads.c.name == param("name"))


class Baked(Event, aggregate="id"):
    """There is bread."""

    id: ID
    name: str


@bakery.command("POST /breads/{name}", needs="bakery.breads:write")
async def bake(ctx: Context, name: str) -> str:
    await ctx.db.insert(breads, name=name, price=3)
    ctx.emit(Baked(ID(f"bread_{name}"), name))
    return name


@bakery.query(needs=INTERNAL)
async def get_price(ctx: Context, name: str) -> int:
    price = await ctx.db.value(price_of, int, name=name)
    if price is None:
        raise NotFound(f"There is no {name}.", slug="no-such-bread")
    return price
