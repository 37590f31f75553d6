"""Products: make them, change them, read them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from msgspec import Meta
from sqlalchemy import func

from hansa.business.commerce import commerce, tables
from hansa.business.commerce.catalogue import (
    VARIANTS_MAX,
    MoreVariants,
    NewProduct,
    NewVariant,
    Product,
    ProductChange,
    ProductWithVariants,
    Status,
    Variant,
    VariantChange,
)
from hansa.business.commerce.events import ProductChanged, ProductCreated
from hansa.kernel.compiler import param, select, update
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import Conflict, Denied, NotFound, Unprocessable
from hansa.kernel.structs import Money, Page, PageRequest, Struct

_p, _v = tables.products.c, tables.variants.c
_by_handle = select(tables.products).where(_p.handle == param("handle"))
_by_id = select(tables.products).where(_p.id == param("id"))
_in_status = select(tables.products).where(_p.status == param("status"))
_variants_of = select(tables.variants).where(_v.product_id == param("product")).order_by(_v.place)
_by_sku = (
    select(tables.variants)
    .join(tables.products, _p.id == _v.product_id)
    .where(_v.sku == param("sku"), _p.status == "active")
)
_change = (
    update(tables.products)
    .where(_p.id == param("id"))
    .values(
        title=param("title"),
        description=param("description"),
        status=param("status"),
        attributes=param("attributes"),
    )
)
_advance = (
    update(tables.products)
    .where(_p.id == param("id"), _p.version == param("before"))
    .values(version=param("after"))
)
_variant_by_id = select(tables.variants).where(_v.id == param("id"))
_change_variant = (
    update(tables.variants)
    .where(_v.id == param("id"))
    .values(
        title=param("title"),
        price_minor=param("minor"),
        price_currency=param("currency"),
    )
)
_last_place = select(func.count(_v.id).label("count"), func.max(_v.place).label("last")).where(
    _v.product_id == param("product")
)

WRITE: Final = "commerce.products:write"


class _Places(Struct):
    """How many variants a product has, and where the last one stands."""

    count: int
    last: int | None


@dataclass
class _Forms:
    """The rows that make variants with their stock."""

    variants: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    levels: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    moves: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def add(self, ctx: Context, product: ID, form: NewVariant, place: int) -> None:
        """Add a form of a product. Raises Unprocessable for a price in another currency."""
        _check_currency(ctx, form.sku, form.price)
        variant = ctx.new_id("var")
        self.variants.append({
            "id": variant, "product_id": product, "sku": form.sku, "title": form.title,
            "price": form.price, "place": place,
        })  # fmt: skip
        self.levels.append({"variant_id": variant, "on_hand": form.stock, "reserved": 0})
        if form.stock:
            self.moves.append({
                "variant_id": variant, "kind": "receive", "quantity": form.stock,
                "ref": product, "at": ctx.now,
            })  # fmt: skip

    async def insert(self, ctx: Context) -> None:
        """Insert them. Raises Conflict for a sku that is taken."""
        await ctx.db.insert_all(tables.variants, self.variants)
        await ctx.db.insert_all(tables.stock, self.levels)
        await ctx.db.insert_all(tables.stock_moves, self.moves)


def _check_currency(ctx: Context, what: str, price: Money) -> None:
    if price.currency != ctx.settings.currency:
        raise Unprocessable(
            f"{what}: the site sells in {ctx.settings.currency}, not in {price.currency}.",
            slug="wrong-currency",
        )


async def insert_products(ctx: Context, bodies: Sequence[NewProduct]) -> list[ID]:
    """Insert products with their variants and stock, and publish one event each; all or none.

    Raises Unprocessable for a price in another currency than the site's, Conflict for a handle or
    sku that is taken. Four statements on PostgreSQL, however many products.
    """
    products: list[dict[str, Any]] = []
    forms = _Forms()
    for body in bodies:
        product = ctx.new_id("prod")
        products.append({
            "id": product, "handle": body.handle, "title": body.title,
            "description": body.description, "status": body.status,
            "attributes": body.attributes, "version": 1, "created_at": ctx.now,
        })  # fmt: skip
        for place, form in enumerate(body.variants):
            forms.add(ctx, product, form, place)
        ctx.emit(ProductCreated(product, body.handle, body.title))
    await ctx.db.insert_all(tables.products, products)
    await forms.insert(ctx)
    return [row["id"] for row in products]


@commerce.command("POST /products", needs=WRITE, status=201)
async def create_product(ctx: Context, body: NewProduct) -> ProductWithVariants:
    """Make a product with its variants. Raises Conflict when its handle or a sku is taken."""
    product = (await insert_products(ctx, [body]))[0]
    return await _whole(ctx, await ctx.db.one(_by_id, Product, id=product))


@commerce.command("PATCH /products/{id}", needs=WRITE)
async def change_product(ctx: Context, id: ID, body: ProductChange) -> ProductWithVariants:
    """Change a product. Raises Conflict (`version-changed`) when somebody was faster."""
    before = await ctx.db.one(_by_id, Product, id=id)
    await _claim_version(ctx, before, body.version)
    await ctx.db.run(
        _change,
        id=id,
        title=body.title or before.title,
        description=before.description if body.description is None else body.description,
        status=body.status or before.status,
        attributes=before.attributes if body.attributes is None else body.attributes,
    )
    return await _whole(ctx, await ctx.db.one(_by_id, Product, id=id))


@commerce.command("POST /products/{id}/variants", needs=WRITE, status=201)
async def add_variants(ctx: Context, id: ID, body: MoreVariants) -> ProductWithVariants:
    """Add forms to a product. Raises Conflict when a sku is taken, or (`version-changed`) somebody
    was faster."""
    before = await ctx.db.one(_by_id, Product, id=id)
    await _claim_version(ctx, before, body.version)
    places = await ctx.db.one(_last_place, _Places, product=id)
    if places.count + len(body.variants) > VARIANTS_MAX:
        raise Unprocessable(f"A product has at most {VARIANTS_MAX} variants.")
    forms = _Forms()
    for place, form in enumerate(body.variants, (places.last or 0) + 1):
        forms.add(ctx, id, form, place)
    await forms.insert(ctx)
    return await _whole(ctx, await ctx.db.one(_by_id, Product, id=id))


@commerce.command("PATCH /variants/{id}", needs=WRITE)
async def change_variant(ctx: Context, id: ID, body: VariantChange) -> ProductWithVariants:
    """Change the price or the title of a variant. Raises Conflict (`version-changed`) when somebody
    has changed the product meanwhile."""
    variant = await ctx.db.one(_variant_by_id, Variant, id=id)
    before = await ctx.db.one(_by_id, Product, id=variant.product_id)
    await _claim_version(ctx, before, body.version)
    price = body.price or variant.price
    _check_currency(ctx, variant.sku, price)
    await ctx.db.run(
        _change_variant,
        id=id,
        title=variant.title if body.title is None else body.title,
        minor=price.minor,
        currency=price.currency,
    )
    return await _whole(ctx, await ctx.db.one(_by_id, Product, id=before.id))


@commerce.query("GET /products/{handle}", needs=PUBLIC)
async def get_product(ctx: Context, handle: str) -> ProductWithVariants:
    """Return a product by its handle or its id. One that is not on sale is found only by those who
    may change it."""
    if "_" in handle:  # as ids have it, and no handle
        product = await ctx.db.first(_by_id, Product, id=handle)
    else:
        product = await ctx.db.first(_by_handle, Product, handle=handle)
    if product is None or (product.status != "active" and not ctx.principal.allows(WRITE)):
        raise NotFound(f"There is no product {handle[:120]!r}.")
    return await _whole(ctx, product)


@commerce.query("GET /products", needs=PUBLIC)
async def list_products(
    ctx: Context, page: PageRequest, status: Status = "active"
) -> Page[Product]:
    """List the products that are on sale, the oldest first; those that are not (`status`) for who
    may change them. Raises Denied."""
    if status != "active" and not ctx.principal.allows(WRITE):
        raise Denied(f"What is not on sale is told to who has {WRITE}.")
    found: Page[Product] = await ctx.db.page(
        _in_status, Product, page, order=(_p.id,), status=status
    )
    return found


@commerce.query("GET /variants", needs=PUBLIC)
async def find_variant(ctx: Context, sku: Annotated[str, Meta(max_length=120)]) -> Variant:
    """Return the variant with a sku, of a product that is on sale."""
    return await ctx.db.one(_by_sku, Variant, sku=sku)


async def read_product(ctx: Context, id: ID) -> ProductWithVariants | None:
    """Return a product in whatever status, None where it is gone."""
    product = await ctx.db.first(_by_id, Product, id=id)
    return None if product is None else await _whole(ctx, product)


async def _claim_version(ctx: Context, before: Product, version: int) -> None:
    """Take the next version for a change of what was read at `version`, and publish that there is
    one. Raises Conflict when another change has taken it."""
    changed = await ctx.db.run(_advance, id=before.id, before=version, after=version + 1)
    if not changed:
        raise Conflict(
            f"The product is at version {before.version}, not {version}: read it again.",
            slug="version-changed",
        )
    ctx.emit(ProductChanged(before.id, before.handle, version + 1))


async def _whole(ctx: Context, product: Product) -> ProductWithVariants:
    variants = await ctx.db.all(_variants_of, Variant, product=product.id)
    return ProductWithVariants(product, tuple(variants))
