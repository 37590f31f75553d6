"""Imports: a catalogue file, batch by batch. A batch moves the import's position with its rows, so
a killed import goes on where it was, and a batch that is sent twice has effect once."""

from typing import Annotated

import msgspec
from msgspec import Meta

from hansa.business.commerce import commerce, tables
from hansa.business.commerce.api.products import insert_products
from hansa.business.commerce.catalogue import NewProduct
from hansa.business.commerce.importing import BATCH_MAX
from hansa.kernel.compiler import param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.problems import Conflict
from hansa.kernel.structs import Struct

LINES_MAX = 1 << 40

_i = tables.imports.c
_by_source = select(tables.imports).where(_i.source == param("source"))
_move = upsert(
    tables.imports,
    key=("source",),
    values={
        "source": param("source"), "next_line": param("next_line"), "products": param("products"),
        "at": param("at", tables.imports.c["at"].type),
    },
    change={
        "next_line": param("next_line"), "products": _i.products + param("products"),
        "at": param("at", tables.imports.c["at"].type),
    },
)  # fmt: skip


_v = tables.variants.c
_of_sku = select(tables.products.c.handle).where(
    _v.sku == param("sku"), tables.products.c.id == _v.product_id
)


class ImportBatch(Struct):
    """Products of the lines `first_line` to before `next_line` of a source; faulty lines are left
    out. `source` is a digest of the file's content. With `again` they are lines behind the
    position: what was refused of them is taken now, and what is here already stays as it is."""

    source: Annotated[str, Meta(min_length=1, max_length=120)]
    first_line: Annotated[int, Meta(ge=1, le=LINES_MAX)]
    next_line: Annotated[int, Meta(ge=2, le=LINES_MAX + 1)]
    products: Annotated[tuple[NewProduct, ...], Meta(max_length=BATCH_MAX)]
    again: bool = False

    def __post_init__(self) -> None:
        if self.next_line <= self.first_line:
            raise ValueError("next_line is after first_line")
        if len(self.products) > self.next_line - self.first_line:
            raise ValueError("a line holds one product at most")


class Import(Struct):
    """How far an import is: the next line, and how many products it has made. `currency` is the
    one that the site sells in."""

    source: str
    next_line: int
    products: int
    currency: str = ""


@commerce.query("GET /imports/{source}", needs="commerce.products:write")
async def get_import(ctx: Context, source: str) -> Import:
    """Return how far an import is; one never begun is at line 1."""
    return await _position(ctx, source)


async def _position(ctx: Context, source: str) -> Import:
    found = await ctx.db.first(_by_source, Import, source=source) or Import(source, 1, 0)
    return msgspec.structs.replace(found, currency=ctx.settings.currency)


@commerce.command("POST /imports", needs="commerce.products:write", body_bytes_max=8 << 20)
async def import_products(ctx: Context, body: ImportBatch) -> Import:
    """Make a batch of products, all or none. Raises Conflict (`import-elsewhere`) for a batch that
    is not the next one, naming the line that is, or `again` for one that is not behind it."""
    now = await _position(ctx, body.source)
    at, products = now.next_line, body.products
    if body.again:
        products = tuple([one for one in products if not await _is_here(ctx, one)])
    elif body.next_line == at and at > 1:
        return now  # sent a second time
    if body.next_line > at if body.again else body.first_line != at:
        raise Conflict(f"The import goes on at line {at}.", slug="import-elsewhere", next_line=at)
    await insert_products(ctx, products)
    next_line = at if body.again else body.next_line
    await ctx.db.run(
        _move, source=body.source, next_line=next_line, products=len(products), at=ctx.now
    )
    return msgspec.structs.replace(
        now, next_line=next_line, products=now.products + len(products)
    )  # fmt: skip


async def _is_here(ctx: Context, product: NewProduct) -> bool:
    """Tell whether a product was made already: one with its handle has its first sku."""
    return await ctx.db.value(_of_sku, str, sku=product.variants[0].sku) == product.handle
