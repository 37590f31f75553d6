"""Products: make them, change them, read them."""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

from hansa.business.commerce import commerce, tables
from hansa.business.commerce.catalogue import (
    NewProduct,
    Product,
    ProductChange,
    ProductWithVariants,
    Variant,
)
from hansa.business.commerce.events import ProductChanged, ProductCreated
from hansa.kernel.compiler import param, select, update
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import Conflict, NotFound, Unprocessable
from hansa.kernel.structs import Page, PageRequest

_p, _v = tables.products.c, tables.variants.c
_by_handle = select(tables.products).where(_p.handle == param("handle"))
_by_id = select(tables.products).where(_p.id == param("id"))
_active = select(tables.products).where(_p.status == "active")
_variants_of = select(tables.variants).where(_v.product_id == param("product")).order_by(_v.place)
_by_sku = (
    select(tables.variants)
    .join(tables.products, _p.id == _v.product_id)
    .where(_v.sku == param("sku"), _p.status == "active")
)
_change = (
    update(tables.products)
    .where(_p.id == param("id"), _p.version == param("before"))
    .values(
        title=param("title"),
        description=param("description"),
        status=param("status"),
        attributes=param("attributes"),
        version=param("after"),
    )
)


async def insert_products(ctx: Context, bodies: Sequence[NewProduct]) -> list[ID]:
    """Insert products with their variants and stock, and publish one event each; all or none.

    Raises Unprocessable for a price in another currency than the site's, Conflict for a handle or
    sku that is taken. Four statements on PostgreSQL, however many products.
    """
    products: list[dict[str, Any]] = []
    variants: list[dict[str, Any]] = []
    levels: list[dict[str, Any]] = []
    moves: list[dict[str, Any]] = []
    for body in bodies:
        product = ctx.new_id("prod")
        products.append({
            "id": product, "handle": body.handle, "title": body.title,
            "description": body.description, "status": body.status,
            "attributes": body.attributes, "version": 1, "created_at": ctx.now,
        })  # fmt: skip
        for place, form in enumerate(body.variants):
            if form.price.currency != ctx.settings.currency:
                raise Unprocessable(
                    f"{form.sku}: the site sells in {ctx.settings.currency},"
                    f" not in {form.price.currency}.",
                    slug="wrong-currency",
                )
            variant = ctx.new_id("var")
            variants.append({
                "id": variant, "product_id": product, "sku": form.sku, "title": form.title,
                "price": form.price, "place": place,
            })  # fmt: skip
            levels.append({"variant_id": variant, "on_hand": form.stock, "reserved": 0})
            if form.stock:
                moves.append({
                    "variant_id": variant, "kind": "receive", "quantity": form.stock,
                    "ref": product, "at": ctx.now,
                })  # fmt: skip
        ctx.emit(ProductCreated(product, body.handle, body.title))
    await ctx.db.insert_all(tables.products, products)
    await ctx.db.insert_all(tables.variants, variants)
    await ctx.db.insert_all(tables.stock, levels)
    await ctx.db.insert_all(tables.stock_moves, moves)
    return [row["id"] for row in products]


@commerce.command("POST /products", needs="commerce.products:write", status=201)
async def create_product(ctx: Context, body: NewProduct) -> ProductWithVariants:
    """Make a product with its variants. Raises Conflict when its handle or a sku is taken."""
    product = (await insert_products(ctx, [body]))[0]
    return await _whole(ctx, await ctx.db.one(_by_id, Product, id=product))


@commerce.command("PATCH /products/{id}", needs="commerce.products:write")
async def change_product(ctx: Context, id: ID, body: ProductChange) -> ProductWithVariants:
    """Change a product. Raises Conflict (`version-changed`) when somebody was faster."""
    before = await ctx.db.one(_by_id, Product, id=id)
    changed = await ctx.db.run(
        _change,
        id=id,
        before=body.version,
        after=body.version + 1,
        title=body.title or before.title,
        description=before.description if body.description is None else body.description,
        status=body.status or before.status,
        attributes=before.attributes if body.attributes is None else body.attributes,
    )
    if not changed:
        raise Conflict(
            f"The product is at version {before.version}, not {body.version}: read it again.",
            slug="version-changed",
        )
    ctx.emit(ProductChanged(id, before.handle, body.version + 1))
    return await _whole(ctx, await ctx.db.one(_by_id, Product, id=id))


@commerce.query("GET /products/{handle}", needs=PUBLIC)
async def get_product(ctx: Context, handle: str) -> ProductWithVariants:
    """Return a product that is on sale, by its handle."""
    product = await ctx.db.first(_by_handle, Product, handle=handle)
    if product is None or product.status != "active":
        raise NotFound(f"There is no product {handle[:120]!r}.")
    return await _whole(ctx, product)


@commerce.query("GET /products", needs=PUBLIC)
async def list_products(ctx: Context, page: PageRequest) -> Page[Product]:
    """List the products that are on sale, the oldest first."""
    found: Page[Product] = await ctx.db.page(_active, Product, page, order=(_p.id,))
    return found


@commerce.query("GET /variants", needs=PUBLIC)
async def find_variant(ctx: Context, sku: Annotated[str, Meta(max_length=120)]) -> Variant:
    """Return the variant with a sku, of a product that is on sale."""
    return await ctx.db.one(_by_sku, Variant, sku=sku)


async def _whole(ctx: Context, product: Product) -> ProductWithVariants:
    variants = await ctx.db.all(_variants_of, Variant, product=product.id)
    return ProductWithVariants(product, tuple(variants))
