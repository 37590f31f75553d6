"""Orders: read them, give money back, cancel them."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from hansa.business.commerce import commerce, tables
from hansa.business.commerce.api.stock import return_stock
from hansa.business.commerce.events import OrderCancelled, OrderPlaced, OrderRefunded
from hansa.business.commerce.order import (
    FulfilmentState,
    OrderEvent,
    OrderRefused,
    OrderState,
    PaymentState,
    States,
    Type,
    after,
    fold,
)
from hansa.business.commerce.payments import Outcome, Payments
from hansa.business.commerce.pricing import Priced
from hansa.kernel.actions import Done, Refused, World
from hansa.kernel.compiler import param, select, update, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.problems import Conflict, NotFound
from hansa.kernel.structs import Page, PageRequest, Struct

_o, _e, _s, _t = (
    tables.orders.c, tables.order_events.c, tables.sales.c, tables.takings.c,
)  # fmt: skip
_by_id = select(tables.orders).where(_o.id == param("id"))
_all = select(tables.orders)
_events_of = select(tables.order_events).where(_e.order_id == param("order")).order_by(_e.seq)
_reference = select(tables.payments.c.reference).where(tables.payments.c.id == param("id"))
_begin_refund = (
    update(tables.orders)
    .where(
        _o.id == param("id"),
        _o.refunded_minor + _o.refunding_minor + param("amount", _o.paid_minor.type)
        <= _o.paid_minor,
    )
    .values(refunding_minor=_o.refunding_minor + param("amount", _o.paid_minor.type))
)
_end_refund = (
    update(tables.orders)
    .where(_o.id == param("id"))
    .values(refunding_minor=_o.refunding_minor - param("amount", _o.paid_minor.type))
)
_write_states = (
    update(tables.orders)
    .where(_o.id == param("id"))
    .values(
        state=param("state"),
        payment=param("payment"),
        fulfilment=param("fulfilment"),
        refunded_minor=param("refunded_minor"),
    )
)
_sold = upsert(
    tables.sales,
    key=("product_id",),
    values={"product_id": param("product_id"), "units": param("units"), "orders": 1},
    change={"units": _s.units + param("units"), "orders": _s.orders + 1},
)
_taken = upsert(
    tables.takings,
    key=("day", "currency"),
    values={
        "day": param("day"), "currency": param("currency"), "orders": 1,
        "total_minor": param("total_minor"),
    },
    change={"orders": _t.orders + 1, "total_minor": _t.total_minor + param("total_minor")},
)  # fmt: skip


class Order(Struct):
    """What was bought, at the prices of that moment, and how it stands."""

    id: ID
    number: int
    cart_id: ID
    email: str
    state: OrderState
    payment: PaymentState
    fulfilment: FulfilmentState
    priced: Priced
    paid_minor: int
    refunded_minor: int
    created_at: datetime


class OrderHappening(Struct):
    """An event of an order, in its place."""

    seq: int
    type: Type
    amount_minor: int
    at: datetime


class NewRefund(Struct):
    """How much to give back, in minor units of the order's currency."""

    amount_minor: Annotated[int, Meta(ge=1)]


class GiveBack(Struct):
    """A refund under way. `cancels` tells that the order ends with it."""

    order: ID
    site: ID
    reference: str
    amount_minor: int
    cancels: bool = False


class _Money(Struct):
    state: OrderState
    payment_id: ID
    paid_minor: int
    refunded_minor: int
    refunding_minor: int
    priced: Priced


async def find_order(ctx: Context, id: ID) -> Order:
    """Return an order. Raises NotFound."""
    return await ctx.db.one(_by_id, Order, id=id)


@commerce.query("GET /orders", needs="commerce.orders:read")
async def list_orders(ctx: Context, page: PageRequest) -> Page[Order]:
    """List orders, the newest first."""
    found: Page[Order] = await ctx.db.page(_all, Order, page, order=(_o.number.desc(),))
    return found


@commerce.query("GET /orders/{id}", needs="commerce.orders:read")
async def get_order(ctx: Context, id: ID) -> Order:
    """Return an order."""
    return await find_order(ctx, id)


@commerce.query("GET /orders/{id}/events", needs="commerce.orders:read")
async def get_order_events(ctx: Context, id: ID) -> list[OrderHappening]:
    """Return what happened to an order, in order."""
    await find_order(ctx, id)
    return await ctx.db.all(_events_of, OrderHappening, order=id)


@commerce.action(
    "POST /orders/{id}/refunds", needs="commerce.orders:write", request=GiveBack, outcome=Outcome
)
async def refund(ctx: Context, id: ID, body: NewRefund) -> GiveBack:
    """Give money of an order back. Raises Conflict when it is more than is left of it."""
    return await _begin(ctx, id, body.amount_minor, cancels=False)


@commerce.action(
    "POST /orders/{id}/cancel", needs="commerce.orders:write", request=GiveBack, outcome=Outcome
)
async def cancel(ctx: Context, id: ID) -> GiveBack | Done[Order]:
    """Cancel an order: all of its money goes back, and its goods to the shelf. Raises Conflict
    (`order-ended`) when it is cancelled already, or a refund under way takes what is left."""
    money = await ctx.db.one(_by_id, _Money, id=id)
    left = money.paid_minor - money.refunded_minor - money.refunding_minor
    if money.state != "placed" or (left < 1 and money.refunding_minor):
        raise Conflict(
            "The order is cancelled already, or a refund of the rest is under way.",
            slug="order-ended",
        )
    if left < 1:
        # It was free, or all of its money is back: there is nothing to ask the provider for.
        await _record(ctx, id, await _unmade(ctx, id))
        return Done(await find_order(ctx, id))
    return await _begin(ctx, id, left, cancels=True)


async def _unmade(ctx: Context, id: ID) -> list[OrderEvent]:
    """Put the goods of an order back on the shelf and tell that it is no more."""
    lines = (await find_order(ctx, id)).priced.lines
    await return_stock(ctx, id, [(one.variant_id, one.quantity) for one in lines])
    ctx.emit(OrderCancelled(id))
    return [OrderEvent("cancelled")]


async def _begin(ctx: Context, id: ID, amount: int, *, cancels: bool) -> GiveBack:
    money = await ctx.db.one(_by_id, _Money, id=id)
    if not await ctx.db.run(_begin_refund, id=id, amount=amount):
        raise Conflict(
            f"Of {money.paid_minor} paid, {money.refunded_minor + money.refunding_minor} went back"
            " already.",
            slug="refund-too-large",
        )
    reference = await ctx.db.value(_reference, str, id=money.payment_id)
    if reference is None:
        raise NotFound("The order's payment is not known.")
    return GiveBack(id, ctx.site, reference, amount, cancels)


@refund.outside
@cancel.outside
async def give_money(world: World, request: GiveBack) -> Outcome:
    """Ask the provider to give money back, under the attempt's key."""
    provider = world.get(Payments).provider
    return await provider.refund(world.key, request.site, request.reference, request.amount_minor)


@refund.settle
@cancel.settle
async def settle_refund(ctx: Context, request: GiveBack, outcome: Outcome) -> Order:
    """Record that money went back, or that the provider declined."""
    await ctx.db.run(_end_refund, id=request.order, amount=request.amount_minor)
    if not outcome.approved:
        raise Refused(Conflict(
            f"The provider declined the refund: {outcome.reason}.", slug="refund-declined"
        ))  # fmt: skip
    happened = [OrderEvent("refunded", request.amount_minor)]
    ctx.emit(OrderRefunded(request.order, request.amount_minor))
    if request.cancels:
        happened += await _unmade(ctx, request.order)
    await _record(ctx, request.order, happened)
    return await find_order(ctx, request.order)


async def _record(ctx: Context, order: ID, happened: list[OrderEvent]) -> States:
    """Append events to an order and write the states that follow from all of them."""
    before = await ctx.db.all(_events_of, OrderHappening, order=order)
    states = fold([OrderEvent(one.type, one.amount_minor) for one in before])
    for seq, event in enumerate(happened, start=len(before) + 1):
        try:
            states = after(states, event)
        except OrderRefused as refusal:
            raise Conflict(f"{refusal}.", slug="order-refuses") from refusal
        await ctx.db.insert(
            tables.order_events, order_id=order, seq=seq, type=event.type,
            amount_minor=event.amount_minor, at=ctx.now,
        )  # fmt: skip
    await ctx.db.run(
        _write_states, id=order, state=states.order, payment=states.payment,
        fulfilment=states.fulfilment, refunded_minor=states.refunded_minor,
    )  # fmt: skip
    return states


@commerce.on(OrderPlaced)
async def count_sale(ctx: Context, event: OrderPlaced) -> None:
    """Count the units sold of each product and the takings of the day."""
    units: dict[ID, int] = {}
    for line in event.lines:
        units[line.product_id] = units.get(line.product_id, 0) + line.quantity
    for product, count in sorted(units.items()):
        await ctx.db.run(_sold, product_id=product, units=count)
    await ctx.db.run(_taken, day=event.day, currency=event.currency, total_minor=event.total_minor)
