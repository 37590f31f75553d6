"""What is asked of the shelf: read a product, create one, take a unit, and how many there are."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta
from sqlalchemy import func

from benchmarks.shelf import shelf, tables
from hansa.kernel.compiler import param, select, update, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import Conflict
from hansa.kernel.structs import Event, Money, Struct

_p, _t = tables.products.c, tables.tallies.c
_by_handle = select(tables.products).where(_p.handle == param("handle"))
_count = select(func.count()).select_from(tables.products)
_created = select(_t.created).where(_t.name == "products")
_count_one = upsert(
    tables.tallies,
    key=("name",),
    values={"name": param("name"), "created": 1},
    change={"created": _t.created + 1},
)
_take = (
    update(tables.products)
    .where(_p.handle == param("handle"), _p.stock >= 1)
    .values(stock=_p.stock - 1)
)


class NewProduct(Struct):
    """A product to be created."""

    handle: Annotated[str, Meta(min_length=1, max_length=80)]
    title: Annotated[str, Meta(min_length=1, max_length=200)]
    description: Annotated[str, Meta(max_length=5000)]
    price: Money
    stock: Annotated[int, Meta(ge=0)]
    tags: tuple[str, ...]
    attributes: dict[str, str]


class Product(Struct):
    """A product."""

    id: ID
    handle: str
    title: str
    description: str
    price: Money
    stock: int
    tags: tuple[str, ...]
    attributes: dict[str, str]
    created_at: datetime


class ProductCreated(Event, aggregate="id"):
    """There is a new product."""

    id: ID
    handle: str


class Tally(Struct):
    """How many creations the subscriber has heard of."""

    created: int


class Count(Struct):
    """How many rows there are."""

    products: int


@shelf.query("GET /products/{handle}", needs="bench.products:read")
async def get_product(ctx: Context, handle: str) -> Product:
    """Return a product. Raises NotFound."""
    return await ctx.db.one(_by_handle, Product, handle=handle)


@shelf.command("POST /products", needs="bench.products:write", status=201)
async def create_product(ctx: Context, body: NewProduct) -> Product:
    """Create a product. Raises Conflict for a handle that is taken."""
    product: Product = await ctx.db.insert(tables.products, body, into=Product, created_at=ctx.now)
    ctx.emit(ProductCreated(product.id, product.handle))
    return product


def _one_at_a_time(handle: str) -> str:
    return handle


@shelf.command(
    "POST /products/{handle}/take",
    needs="bench.products:write",
    serial_by=_one_at_a_time,
)
async def take_unit(ctx: Context, handle: str) -> None:
    """Take one unit. Raises Conflict when there is none."""
    if not await ctx.db.run(_take, handle=handle):
        raise Conflict("There is none left.", slug="out-of-stock")


@shelf.on(ProductCreated)
async def count_product(ctx: Context, event: ProductCreated) -> None:
    """Count a creation."""
    await ctx.db.run(_count_one, name="products")


@shelf.query("GET /tally", needs=PUBLIC)
async def get_tally(ctx: Context) -> Tally:
    """Return how many creations were delivered."""
    return Tally(await ctx.db.value(_created, int) or 0)


@shelf.query("GET /count", needs=PUBLIC)
async def get_count(ctx: Context) -> Count:
    """Return how many products the site has."""
    return Count(await ctx.db.value(_count, int) or 0)
