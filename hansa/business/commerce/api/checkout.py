"""Checkout: a cart becomes an order and money, or neither, whatever crashes in between."""

from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta

from hansa.business.commerce import commerce, tables
from hansa.business.commerce.api.carts import changed, find_cart, priced
from hansa.business.commerce.api.orders import Order, find_order
from hansa.business.commerce.api.stock import (
    claim_stock,
    enough_for,
    promised,
    release_hold,
    release_stock,
    reserve_stock,
)
from hansa.business.commerce.events import (
    OrderLine,
    OrderPlaced,
    PaymentDeclined,
    PaymentOrphaned,
    PaymentStuck,
)
from hansa.business.commerce.payments import Charge, Outcome, Payments
from hansa.business.commerce.pricing import Priced
from hansa.kernel.actions import Done, Refused, World
from hansa.kernel.compiler import param, update, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import INTERNAL, PUBLIC
from hansa.kernel.problems import Conflict, Problem, Unprocessable
from hansa.kernel.structs import Money, Secret, Struct

HOLD_S = 600
"""How long stock stays promised while a payment is under way."""

_c, _n, _m = tables.carts.c, tables.counters.c, tables.payments.c
_lock = (
    update(tables.carts)
    .where(_c.id == param("id"), _c.version == param("version"), _c.state == "open")
    .values(state="completing")
)
_reopen = (
    update(tables.carts)
    .where(_c.id == param("id"), _c.state == "completing")
    .values(state="open", version=_c.version + 1)
)
_complete = (
    update(tables.carts)
    .where(_c.id == param("id"))
    .values(state="completed", order_id=param("order_id"))
)
_next_number = upsert(
    tables.counters,
    key=("name",),
    values={"name": "orders", "value": 1},
    change={"value": _n.value + 1},
    returning=(_n.value,),
)
_over = (
    update(tables.payments)
    .where(_m.id == param("id"), _m.state == "orphaned")
    .values(state=param("state"), reason=param("reason"))
)


class Complete(Struct):
    """The buyer's last word: this version, for this much, paid by this token."""

    version: int
    expected_total: Money
    payment: Annotated[str, Meta(min_length=1, max_length=200)]


class Checkout(Struct):
    """What an attempt to complete a cart is about, until its outcome is known."""

    cart: ID
    ref: str
    email: str
    priced: Priced
    charge: Charge


class PaymentRefused(Problem):
    """The money was not given (402). The cart is open again."""

    status = 402
    slug = "payment-declined"
    title = "The payment was declined"


@commerce.action(
    "POST /carts/{id}/complete",
    needs=PUBLIC,
    request=Checkout,
    outcome=Outcome,
    outside_s=8.0,
    serial_by=lambda: "stock",
)
async def complete(ctx: Context, id: ID, body: Complete) -> Checkout | Done[Order]:
    """Buy what is in a cart. Raises Conflict when the cart or its total is not as expected
    (`cart-changed`, `total-changed`), or goods are gone (`out-of-stock`); 402 when the payment is
    declined; 503 (`no-payment-provider`) where nobody takes money."""
    ctx.get(Payments).check()
    cart = await find_cart(ctx, id)
    if cart.state == "completed" and cart.order_id:
        return Done(await find_order(ctx, cart.order_id))
    if not await ctx.db.run(_lock, id=id, version=body.version):
        raise changed(cart)
    if not cart.lines:
        raise Unprocessable("The cart is empty.", slug="cart-empty")
    sums = await priced(ctx, cart.lines)
    if body.expected_total != Money(sums.total_minor, sums.currency):
        raise Conflict(
            f"The total is {sums.total_minor} {sums.currency} now; look at the cart again.",
            slug="total-changed", total_minor=sums.total_minor, currency=sums.currency,
        )  # fmt: skip
    ref = f"{id}.{cart.version}"
    until = ctx.now + timedelta(seconds=HOLD_S)
    await reserve_stock(ctx, ref, [(line.variant_id, line.quantity) for line in cart.lines], until)
    ctx.schedule(release_hold, at=until, id=f"hold:{ref}", ref=ref)
    charge = Charge(ctx.site, sums.total_minor, sums.currency, Secret(body.payment))
    return Checkout(id, ref, cart.email, sums, charge)


@complete.outside
async def take_money(world: World, request: Checkout) -> Outcome:
    """Ask the provider for the money, under the attempt's key."""
    return await world.get(Payments).provider.authorise(world.key, request.charge)


@complete.settle
async def settle_checkout(ctx: Context, request: Checkout, outcome: Outcome) -> Order:
    """Record what the provider said: an order, an open cart, or money to be given back."""
    ctx.unschedule(f"hold:{request.ref}")
    if not outcome.approved:
        await release_stock(ctx, request.ref)
        await ctx.db.run(_reopen, id=request.cart)
        await _payment(ctx, request, outcome, "declined", None)
        ctx.emit(PaymentDeclined(request.cart, outcome.reason))
        raise Refused(PaymentRefused(f"The payment was declined: {outcome.reason}."))
    promises = await promised(ctx, request.ref)
    if not await enough_for(ctx, promises):
        # What of it is still promised must not stay so: its hold is not due any more.
        await release_stock(ctx, request.ref)
        payment = await _payment(ctx, request, outcome, "orphaned", None)
        await ctx.db.run(_reopen, id=request.cart)
        ctx.emit(PaymentOrphaned(payment, request.cart, request.charge.amount_minor))
        ctx.schedule(
            void_payment,
            at=ctx.now,
            id=f"void:{payment}",
            payment=payment,
            reference=outcome.reference,
            asked=0,
        )
        raise Refused(Conflict(
            "The goods were gone when the money came; it is being given back.",
            slug="out-of-stock",
        ))  # fmt: skip
    await claim_stock(ctx, promises)
    return await _place(ctx, request, outcome)


async def _payment(
    ctx: Context, request: Checkout, outcome: Outcome, state: str, order: ID | None
) -> ID:
    amount = Money(request.charge.amount_minor, request.charge.currency)
    payment: ID = await ctx.db.insert(
        tables.payments, ref=request.ref, cart_id=request.cart, order_id=order, state=state,
        reference=outcome.reference, reason=outcome.reason, amount=amount, at=ctx.now,
    )  # fmt: skip
    return payment


async def _place(ctx: Context, request: Checkout, outcome: Outcome) -> Order:
    order, sums = ctx.new_id("ord"), request.priced
    payment = await _payment(ctx, request, outcome, "captured", order)
    await ctx.db.run(_complete, id=request.cart, order_id=order)
    # The number is taken last: whoever waits for the counter waits for nothing else after it.
    number = await ctx.db.value(_next_number, int) or 0
    await ctx.db.insert(
        tables.orders, id=order, number=number, cart_id=request.cart, email=request.email,
        state="placed", payment="paid", fulfilment="none", priced=sums,
        paid_minor=sums.total_minor, refunded_minor=0, refunding_minor=0, payment_id=payment,
        created_at=ctx.now,
    )  # fmt: skip
    happened = (("placed", 0), ("paid", sums.total_minor))
    await ctx.db.insert_all(tables.order_events, [
        {"order_id": order, "seq": seq, "type": kind, "amount_minor": amount, "at": ctx.now}
        for seq, (kind, amount) in enumerate(happened, start=1)
    ])  # fmt: skip
    lines = tuple(
        OrderLine(line.product_id, line.variant_id, line.quantity, line.amount_minor)
        for line in sums.lines
    )
    day = ctx.now.astimezone(ZoneInfo(ctx.settings.zone)).date().isoformat()
    ctx.emit(OrderPlaced(order, number, request.cart, sums.currency, sums.total_minor, day, lines))
    return Order(
        order, number, request.cart, request.email, "placed", "paid", "none", sums,
        sums.total_minor, 0, ctx.now,
    )  # fmt: skip


VOID_AGAIN = (timedelta(hours=1), timedelta(hours=6), *[timedelta(days=1)] * 6)
"""The waits between asking a provider that declines to give money back; then a person must look."""


class Void(Struct):
    """Money to be given back that bought nothing; it was asked for `asked` times before."""

    payment: ID
    site: ID
    reference: str
    asked: int


@commerce.action(needs=INTERNAL, request=Void, outcome=Outcome)
async def void_payment(ctx: Context, payment: ID, reference: str, asked: int) -> Void:
    """Give back money that came for goods that were gone."""
    return Void(payment, ctx.site, reference, asked)


@void_payment.outside
async def give_back(world: World, request: Void) -> Outcome:
    """Ask the provider to give all of it back."""
    return await world.get(Payments).provider.void(world.key, request.site, request.reference)


@void_payment.settle
async def settle_void(ctx: Context, request: Void, outcome: Outcome) -> bool:
    """Record that the money is back. A provider that declines is asked again, under a new key, and
    in the end the payment is `stuck`, for a person to see (`GET /commerce/payments`)."""
    if outcome.approved:
        await ctx.db.run(_over, id=request.payment, state="voided", reason="")
    elif request.asked < len(VOID_AGAIN):
        ctx.schedule(
            void_payment,
            at=ctx.now + VOID_AGAIN[request.asked],
            id=f"void:{request.payment}",
            payment=request.payment,
            reference=request.reference,
            asked=request.asked + 1,
        )
    else:
        await ctx.db.run(_over, id=request.payment, state="stuck", reason=outcome.reason)
        ctx.emit(PaymentStuck(request.payment, outcome.reason))
    return outcome.approved
