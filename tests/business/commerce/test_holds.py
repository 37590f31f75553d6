"""Stock that was promised comes free again, even when due work is late and money later still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hansa.assembly import Cell, Place
from hansa.business.commerce import api as shop
from hansa.business.commerce.payments import Outcome
from hansa.kernel.actions import Unknown
from tests.business.commerce.market import PRICE, Market, Shifted

OVER_S = 660


@asynccontextmanager
async def without_due_work(place: Place) -> AsyncIterator[Market]:
    """A market whose due work never comes: what is over is given back by whoever needs it."""
    clock = Shifted()
    cell = Cell(place, clock=clock, background=False, testpay=True)
    await cell.open()
    try:
        market = Market(cell, clock)
        await market.make(stock=10)
        yield market
    finally:
        await cell.close()


async def open_attempts(market: Market) -> list[str]:
    rows = await market.rows(
        "SELECT id FROM hansa_attempts WHERE site = $1 AND status = 0 ORDER BY id", market.site
    )
    return [str(row[0]) for row in rows]


async def check_ledger(market: Market) -> None:
    """The counters are what the moves and the promises add up to."""
    levels = await market.rows(
        "SELECT variant_id, on_hand, reserved FROM commerce_stock WHERE site = $1", market.site
    )
    for variant, on_hand, reserved in levels:
        moves = await market.rows(
            "SELECT kind, quantity FROM commerce_stock_moves WHERE variant_id = $1", variant
        )
        there = {"receive": 1, "adjust": 1, "return": 1, "claim": -1}
        assert on_hand == sum(there.get(kind, 0) * quantity for kind, quantity in moves)
        held = await market.rows(
            "SELECT quantity FROM commerce_reservations WHERE variant_id = $1 AND state = 'held'",
            variant,
        )
        assert reserved == sum(row[0] for row in held)


def test_orphaned_money_leaves_nothing_promised(place: Place) -> None:
    async def test() -> None:
        async with without_due_work(place) as market:
            cup = await market.product("cup", stock=10)
            both = await market.cart((market.variant, 5), (cup, 5))
            assert isinstance(await market.pay(both, "tok_late"), Unknown)
            market.clock.ahead_s += OVER_S
            # Whoever buys all mugs takes back the promise of mugs that is over, not that of cups.
            assert isinstance(await market.buy(quantity=10), shop.Order)
            assert await market.level(cup) == (10, 5)
            [attempt] = await open_attempts(market)
            await market.tell(attempt, "charge", Outcome(True, f"ch_{attempt}"))
            assert len(await market.events("commerce.payment_orphaned")) == 1
            assert await market.level(cup) == (10, 0)
            assert await market.level() == (0, 0)
            await check_ledger(market)

    asyncio.run(test())


def test_late_money_buys_what_only_promises_that_are_over_keep(place: Place) -> None:
    async def test() -> None:
        async with without_due_work(place) as market:
            assert isinstance(await market.buy("tok_late", 6), Unknown)
            [first] = await open_attempts(market)
            market.clock.ahead_s += OVER_S
            # The second takes the first one's promise back, and is over itself when money comes.
            assert isinstance(await market.buy("tok_late", 7), Unknown)
            assert await market.level() == (10, 7)
            market.clock.ahead_s += OVER_S
            await market.tell(first, "charge", Outcome(True, f"ch_{first}"))
            assert [one.paid_minor for one in await market.orders()] == [6 * PRICE]
            assert await market.events("commerce.payment_orphaned") == []
            assert await market.level() == (4, 0)
            await check_ledger(market)

    asyncio.run(test())


def test_a_cart_of_many_items_promises_all_or_nothing(place: Place) -> None:
    async def test() -> None:
        async with without_due_work(place) as market:
            cups = [await market.product(f"cup-{number}", stock=number) for number in (9, 3, 5)]
            cart = await market.cart((market.variant, 4), *((cup, 4) for cup in cups))
            assert await market.pay(cart) == "out-of-stock"
            levels = [await market.level(one) for one in (market.variant, *cups)]
            assert levels == [(10, 0), (9, 0), (3, 0), (5, 0)]
            assert await open_attempts(market) == []
            assert (await market.visit(shop.get_cart, id=cart.id)).state == "open"
            assert market.kept_money() == 0
            await check_ledger(market)

    asyncio.run(test())
