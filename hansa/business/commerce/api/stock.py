"""Stock: receive and adjust it, read it, and promise it to carts without ever selling it twice."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from hansa.business.commerce import commerce, tables
from hansa.business.commerce.events import StockMoved
from hansa.business.commerce.stock import Kind, demand, next_state
from hansa.kernel.compiler import param, select, update
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import INTERNAL, PUBLIC
from hansa.kernel.problems import Conflict, NotFound
from hansa.kernel.structs import Struct

LOW = 5
"""Fewer than so many are told to be few."""

_s, _r = tables.stock.c, tables.reservations.c
_level = select(tables.stock).where(_s.variant_id == param("variant"))
# The condition and the change are one statement: between a look and a write somebody may buy.
_reserve = (
    update(tables.stock)
    .where(
        _s.variant_id == param("variant"),
        _s.on_hand - _s.reserved >= param("quantity", _s.on_hand.type),
    )
    .values(reserved=_s.reserved + param("quantity", _s.on_hand.type))
)
_unreserve = (
    update(tables.stock)
    .where(_s.variant_id == param("variant"), _s.reserved >= param("quantity", _s.on_hand.type))
    .values(reserved=_s.reserved - param("quantity", _s.on_hand.type))
)
_claim = (
    update(tables.stock)
    .where(_s.variant_id == param("variant"), _s.reserved >= param("quantity", _s.on_hand.type))
    .values(
        reserved=_s.reserved - param("quantity", _s.on_hand.type),
        on_hand=_s.on_hand - param("quantity", _s.on_hand.type),
    )
)
_receive = (
    update(tables.stock)
    .where(
        _s.variant_id == param("variant"),
        _s.on_hand + param("quantity", _s.on_hand.type) >= _s.reserved,
    )
    .values(on_hand=_s.on_hand + param("quantity", _s.on_hand.type))
)
_of_ref = select(tables.reservations).where(_r.ref == param("ref")).order_by(_r.variant_id)
_overdue = (
    select(tables.reservations)
    .where(
        _r.variant_id == param("variant"),
        _r.state == "held",
        _r.expires_at <= param("now", _r.expires_at.type),
    )
    .order_by(_r.ref)
    .limit(100)
)
_set_state = (
    update(tables.reservations)
    .where(_r.ref == param("ref"), _r.variant_id == param("variant"), _r.state == param("before"))
    .values(state=param("after"))
)
_hold_again = (
    update(tables.reservations)
    .where(_r.ref == param("ref"), _r.variant_id == param("variant"), _r.state == "released")
    .values(state="held")
)


class Level(Struct):
    """What there is of a variant: on hand, of that promised, and the rest."""

    variant_id: ID
    on_hand: int
    reserved: int


class Move(Struct):
    """A receipt (at least one) or an adjustment (up or down, for a reason)."""

    kind: Literal["receive", "adjust"]
    quantity: Annotated[int, Meta(ge=-1_000_000_000, le=1_000_000_000)]
    ref: Annotated[str, Meta(max_length=200)] = ""


class Reservation(Struct):
    """A promise of a quantity, until it is claimed, released or over."""

    ref: str
    variant_id: ID
    quantity: int
    state: Literal["held", "claimed", "released"]
    expires_at: datetime


class Shortage(Conflict):
    """There is less than was asked for."""

    slug = "out-of-stock"
    title = "There is not enough in stock"


@commerce.command("POST /variants/{variant}/stock", needs="commerce.stock:write")
async def move_stock(ctx: Context, variant: ID, body: Move) -> Level:
    """Receive or adjust stock. Raises Conflict when less would remain than is promised."""
    if body.quantity == 0 or (body.quantity < 0 and body.kind == "receive"):
        raise Conflict("Receive at least one, or adjust by other than zero.", slug="bad-quantity")
    await _known(ctx, variant)
    if not await ctx.db.run(_receive, variant=variant, quantity=body.quantity):
        raise Shortage("Less would remain than is promised already.")
    await _note(ctx, variant, body.kind, body.quantity, body.ref)
    ctx.emit(StockMoved(variant, body.kind, body.quantity))
    return await ctx.db.one(_level, Level, variant=variant)


class Availability(Struct):
    """What a visitor may know of a variant's stock."""

    variant_id: ID
    state: Literal["in_stock", "low", "out"]


@commerce.query("GET /variants/{variant}/availability", needs=PUBLIC)
async def get_availability(ctx: Context, variant: ID) -> Availability:
    """Return whether a variant can be bought now: `low` below five, `out` with none."""
    free = await _available(ctx, variant)
    return Availability(variant, "out" if free <= 0 else "low" if free < LOW else "in_stock")


@commerce.query("GET /variants/{variant}/stock", needs="commerce.stock:read")
async def get_stock(ctx: Context, variant: ID) -> Level:
    """Return what there is of a variant."""
    return await ctx.db.one(_level, Level, variant=variant)


class Demand(Struct):
    """Items and quantities to be promised under a reference, until an instant."""

    ref: str
    lines: tuple[tuple[ID, int], ...]
    until: datetime


@commerce.command(needs=INTERNAL, serial_by=lambda: "stock")
async def reserve(ctx: Context, body: Demand) -> None:
    """Promise stock, all of a demand or nothing. Raises Conflict (`out-of-stock`)."""
    await reserve_stock(ctx, body.ref, body.lines, body.until)


async def reserve_stock(
    ctx: Context, ref: str, lines: Iterable[tuple[ID, int]], until: datetime
) -> None:
    """Promise stock in the caller's transaction; what runs out undoes all of it."""
    for variant, quantity in demand(lines).items():
        await _promise(ctx, variant, quantity)
        await ctx.db.insert(
            tables.reservations, ref=ref, variant_id=variant, quantity=quantity, state="held",
            expires_at=until,
        )  # fmt: skip
        await _note(ctx, variant, "reserve", quantity, ref)


async def _promise(ctx: Context, variant: ID, quantity: int) -> None:
    if await ctx.db.run(_reserve, variant=variant, quantity=quantity):
        return
    await _known(ctx, variant)
    await _sweep(ctx, variant)
    if not await ctx.db.run(_reserve, variant=variant, quantity=quantity):
        raise Shortage(f"There are fewer than {quantity} of {variant}.")


async def _sweep(ctx: Context, variant: ID) -> None:
    """Give back the promises of a variant that are over, without waiting for their due work."""
    for old in await ctx.db.all(_overdue, Reservation, variant=variant, now=ctx.now):
        await _release_one(ctx, old)


async def promised(ctx: Context, ref: str) -> list[Reservation]:
    """Return what a reference was promised, whether it still is or not."""
    return await ctx.db.all(_of_ref, Reservation, ref=ref)


async def release_stock(ctx: Context, ref: str) -> None:
    """Give back what a reference was promised; nothing happens the second time."""
    for one in await promised(ctx, ref):
        if one.state == "held":
            await _release_one(ctx, one)


async def _release_one(ctx: Context, held: Reservation) -> None:
    after = next_state(held.state, "release")
    changed = await ctx.db.run(
        _set_state, ref=held.ref, variant=held.variant_id, before=held.state, after=after
    )
    if changed:
        await ctx.db.run(_unreserve, variant=held.variant_id, quantity=held.quantity)
        await _note(ctx, held.variant_id, "release", held.quantity, held.ref)


async def claim_stock(ctx: Context, promises: Iterable[Reservation]) -> None:
    """Take what was promised off the shelf. A promise that was given back meanwhile is made again
    if there is enough; else raises Conflict (`out-of-stock`)."""
    for one in promises:
        state = one.state
        if state == "released":
            await _promise(ctx, one.variant_id, one.quantity)
            await ctx.db.run(_hold_again, ref=one.ref, variant=one.variant_id)
            await _note(ctx, one.variant_id, "reserve", one.quantity, one.ref)
            state = "held"
        after = next_state(state, "claim")
        changed = await ctx.db.run(
            _set_state, ref=one.ref, variant=one.variant_id, before=state, after=after
        )
        if state == "held" and changed:
            await ctx.db.run(_claim, variant=one.variant_id, quantity=one.quantity)
            await _note(ctx, one.variant_id, "claim", one.quantity, one.ref)


async def enough_for(ctx: Context, promises: Iterable[Reservation]) -> bool:
    """Tell whether all of it is promised, or could be promised again."""
    for one in promises:
        if one.state == "released" and await _available(ctx, one.variant_id) < one.quantity:
            await _sweep(ctx, one.variant_id)
            if await _available(ctx, one.variant_id) < one.quantity:
                return False
    return True


async def _available(ctx: Context, variant: ID) -> int:
    level = await ctx.db.one(_level, Level, variant=variant)
    return level.on_hand - level.reserved


async def return_stock(ctx: Context, ref: str, lines: Iterable[tuple[ID, int]]) -> None:
    """Put goods of a cancelled order back on the shelf."""
    for variant, quantity in demand(lines).items():
        await ctx.db.run(_receive, variant=variant, quantity=quantity)
        await _note(ctx, variant, "return", quantity, ref)
        ctx.emit(StockMoved(variant, "return", quantity))


@commerce.due("commerce.release_hold")
async def release_hold(ctx: Context, ref: str) -> None:
    """Give back a promise whose time is over."""
    await release_stock(ctx, ref)


async def _known(ctx: Context, variant: ID) -> None:
    if await ctx.db.first(_level, Level, variant=variant) is None:
        raise NotFound(f"There is no variant {variant[:80]}.")


async def _note(ctx: Context, variant: ID, kind: Kind, quantity: int, ref: str) -> None:
    await ctx.db.insert(
        tables.stock_moves, variant_id=variant, kind=kind, quantity=quantity, ref=ref, at=ctx.now
    )
