"""Carts: what a visitor means to buy. A cart is found by its unguessable id, without a login."""

from datetime import datetime, timedelta
from typing import Annotated, Literal

from msgspec import Meta

from hansa.business.commerce import commerce, tables
from hansa.business.commerce.pricing import Priced, PricedLine, price
from hansa.business.commerce.stock import demand
from hansa.kernel.compiler import delete, param, select, update
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import Conflict, Unprocessable
from hansa.kernel.structs import MINOR_MAX, Struct

LINES_MAX = 100
LEFT_AFTER = timedelta(days=30)
"""How long an open cart is kept that nobody touches."""
SWEEP_MAX = 500
CartState = Literal["open", "completing", "completed"]

_c, _o, _v = tables.carts.c, tables.orders.c, tables.variants.c
_by_id = select(tables.carts).where(_c.id == param("id"))
_priced = (
    select(_v.id, _v.product_id, _v.sku, _v.price_minor, tables.products.c.title)
    .join(tables.products, tables.products.c.id == _v.product_id)
    .where(
        _v.id.in_(param("ids")),
        # A site that changes its currency must not sell the old numbers in the new one.
        _v.price_currency == param("currency"),
        tables.products.c.status == "active",
    )
)
_bought = select(_o.priced).where(_o.id == param("order"))
_write = (
    update(tables.carts)
    .where(_c.id == param("id"), _c.version == param("before"), _c.state == "open")
    .values(
        lines=param("lines"), email=param("email"), version=param("after"),
        touched_at=param("touched_at"),
    )
)  # fmt: skip
_left = (
    select(_c.id)
    .where(_c.state == "open", _c.touched_at < param("before"))
    .order_by(_c.touched_at)
    .limit(SWEEP_MAX)
)
_drop = delete(tables.carts).where(_c.id.in_(param("ids")), _c.state == "open")


class Line(Struct):
    """So many of a variant."""

    variant_id: Annotated[str, Meta(max_length=90)]
    quantity: Annotated[int, Meta(ge=1, le=10_000)]


_Email = Annotated[str, Meta(max_length=254, pattern=r"^([^@\s]+@[^@\s]+)?$(?!\n)")]
"""An address that mail may reach, or none yet."""


class NewCart(Struct):
    """What a cart begins with."""

    lines: Annotated[tuple[Line, ...], Meta(max_length=LINES_MAX)] = ()
    email: _Email = ""


class CartChange(Struct):
    """The lines that the cart of `version` has from now on."""

    version: int
    lines: Annotated[tuple[Line, ...], Meta(max_length=LINES_MAX)]
    email: _Email | None = None


class CartRow(Struct):
    """A cart as it is kept."""

    id: ID
    version: int
    state: CartState
    email: str
    lines: tuple[Line, ...]
    order_id: ID | None
    created_at: datetime
    touched_at: datetime


class Cart(Struct):
    """A cart with its prices: as of now, or, once it is an order, as they were bought.

    `gone` are the lines that are not on sale any more; they are not in the sums, and the cart
    cannot be completed with them.
    """

    id: ID
    version: int
    state: CartState
    email: str
    priced: Priced
    order_id: ID | None = None
    gone: tuple[Line, ...] = ()


class _Bought(Struct):
    priced: Priced


class _Form(Struct):
    id: ID
    product_id: ID
    sku: str
    price_minor: int
    title: str


@commerce.command("POST /carts", needs=PUBLIC, status=201)
async def create_cart(ctx: Context, body: NewCart) -> Cart:
    """Make a cart. Two lines of one variant become one."""
    lines = summed(body.lines)
    cart = CartRow(ctx.new_id("cart"), 1, "open", body.email, lines, None, ctx.now, ctx.now)
    await ctx.db.insert(tables.carts, cart)
    return shown(cart, await priced(ctx, lines))


@commerce.command("PUT /carts/{id}", needs=PUBLIC)
async def change_cart(ctx: Context, id: ID, body: CartChange) -> Cart:
    """Change the lines of a cart. Raises Conflict when it is not as it was read, or not open."""
    cart = await find_cart(ctx, id)
    email = cart.email if body.email is None else body.email
    lines = summed(body.lines)
    written = await ctx.db.run(
        _write, id=id, before=body.version, after=body.version + 1, email=email, lines=lines,
        touched_at=ctx.now,
    )  # fmt: skip
    if not written:
        raise changed(cart)
    after = CartRow(id, body.version + 1, "open", email, lines, None, cart.created_at, ctx.now)
    return shown(after, await priced(ctx, lines))


@commerce.query("GET /carts/{id}", needs=PUBLIC)
async def get_cart(ctx: Context, id: ID) -> Cart:
    """Return a cart with its prices; what is not on sale any more is told apart, not refused."""
    cart = await find_cart(ctx, id)
    if cart.order_id:
        return shown(cart, (await ctx.db.one(_bought, _Bought, order=cart.order_id)).priced)
    sums, gone = await priced_and_gone(ctx, cart.lines)
    return shown(cart, sums, gone)


@commerce.every("23 3 * * *", spread_s=3600)
async def sweep_carts_daily(ctx: Context) -> None:
    """Forget the carts that were left."""
    await _sweep(ctx)


@commerce.due("commerce.sweep_carts")
async def sweep_carts(ctx: Context) -> None:
    """Go on with it."""
    await _sweep(ctx)


async def _sweep(ctx: Context) -> None:
    """Forget so many of them, the oldest first; the rest follows by itself."""
    left = await ctx.db.all(_left, str, before=ctx.now - LEFT_AFTER)
    if left:
        await ctx.db.run(_drop, ids=left)
    if len(left) == SWEEP_MAX:
        ctx.schedule(sweep_carts, at=ctx.now, id="sweep-carts")


def changed(cart: CartRow) -> Conflict:
    """Return the refusal for a cart that is not as its reader thinks."""
    return Conflict(
        f"The cart is {cart.state}, at version {cart.version}: read it again.",
        slug="cart-changed", version=cart.version, state=cart.state,
    )  # fmt: skip


def summed(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """Return lines with those of one variant together."""
    together = demand((line.variant_id, line.quantity) for line in lines)
    return tuple(Line(variant, quantity) for variant, quantity in together.items())


async def find_cart(ctx: Context, id: ID) -> CartRow:
    """Return a cart as it is kept. Raises NotFound."""
    return await ctx.db.one(_by_id, CartRow, id=id)


async def priced(ctx: Context, lines: tuple[Line, ...]) -> Priced:
    """Return lines at the prices of now. Raises Unprocessable for what is not on sale
    (`not-on-sale`), or comes to more than a price can be (`total-too-large`)."""
    sums, gone = await priced_and_gone(ctx, lines)
    if gone:
        names = ", ".join(line.variant_id for line in gone)
        raise Unprocessable(f"Not on sale: {names[:500]}.", slug="not-on-sale")
    if sums.total_minor > MINOR_MAX:
        raise Unprocessable(
            f"A cart comes to at most {MINOR_MAX} minor units.", slug="total-too-large"
        )
    return sums


async def priced_and_gone(ctx: Context, lines: tuple[Line, ...]) -> tuple[Priced, tuple[Line, ...]]:
    """Return the lines that are on sale at the prices of now, and the lines that are not."""
    forms = {}
    if lines:
        found = await ctx.db.all(
            _priced,
            _Form,
            ids=[line.variant_id for line in lines],
            currency=ctx.settings.currency,
        )
        forms = {form.id: form for form in found}
    sums = price(
        ctx.settings.currency,
        [
            PricedLine(
                form.id, form.product_id, form.sku, form.title, line.quantity, form.price_minor,
                form.price_minor * line.quantity,
            )
            for line in lines
            if (form := forms.get(line.variant_id))
        ],
    )  # fmt: skip
    return sums, tuple(line for line in lines if line.variant_id not in forms)


def shown(cart: CartRow, sums: Priced, gone: tuple[Line, ...] = ()) -> Cart:
    """Return a kept cart as its visitor sees it."""
    return Cart(cart.id, cart.version, cart.state, cart.email, sums, cart.order_id, gone)
