"""Money goes back at most once, goods too: refunds and cancellations, on both engines."""

import asyncio
from typing import Any

from hansa.assembly import Place
from hansa.business.commerce import api as shop
from hansa.kernel.problems import Problem
from tests.business.commerce.market import PRICE, Market, opened


async def tried(market: Market, operation: Any, **arguments: Any) -> Any:
    """What an operation answers: its value, or the slug of its refusal."""
    try:
        return await market.run(operation, **arguments)
    except Problem as problem:
        return problem.slug


def test_concurrent_refunds_never_exceed_what_was_paid(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            order = await market.buy()
            answers = await asyncio.gather(
                *(
                    tried(market, shop.refund, id=order.id, body=shop.NewRefund(400))
                    for _ in range(8)
                )
            )
            assert answers.count("refund-too-large") == 8 - PRICE // 400
            now = await market.run(shop.get_order, id=order.id)
            assert now.refunded_minor == PRICE // 400 * 400
            assert now.payment == "part_refunded"
            assert market.kept_money() == PRICE - now.refunded_minor

    asyncio.run(test())


def test_a_cancelled_order_gives_money_and_goods_back_once(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            order = await market.buy(quantity=3)
            await market.run(shop.refund, id=order.id, body=shop.NewRefund(700))
            answers = await asyncio.gather(
                *(tried(market, shop.cancel, id=order.id) for _ in range(4))
            )
            assert answers.count("order-ended") == 3
            assert await market.level() == (10, 0)
            assert market.kept_money() == 0
            events = await market.run(shop.get_order_events, id=order.id)
            assert [one.type for one in events] == [
                "placed", "paid", "refunded", "refunded", "cancelled",
            ]  # fmt: skip
            assert [one.seq for one in events] == [1, 2, 3, 4, 5]
            refused = await tried(market, shop.refund, id=order.id, body=shop.NewRefund(1))
            assert refused == "refund-too-large"
            assert len(await market.events("commerce.order_cancelled")) == 1

    asyncio.run(test())


def test_an_order_whose_money_is_back_or_that_was_free_can_be_cancelled(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            order = await market.buy()
            await market.run(shop.refund, id=order.id, body=shop.NewRefund(PRICE))
            cancelled = await market.run(shop.cancel, id=order.id)
            assert (cancelled.state, cancelled.payment) == ("cancelled", "refunded")
            free = await market.product("free", stock=2, price=0)
            given = await market.pay(await market.cart((free, 2)))
            assert await market.level(free) == (0, 0)
            assert (await market.run(shop.cancel, id=given.id)).state == "cancelled"
            assert await market.level(free) == (2, 0)
            assert await tried(market, shop.cancel, id=given.id) == "order-ended"

    asyncio.run(test())


def test_a_refund_under_a_repeated_key_has_effect_once(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            order = await market.buy()
            body = shop.NewRefund(500)
            first = await market.run(shop.refund, key="once", id=order.id, body=body)
            again = await market.run(shop.refund, key="once", id=order.id, body=body)
            assert first == again
            assert market.kept_money() == PRICE - 500

    asyncio.run(test())


def test_sales_and_takings_follow_the_orders(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            for quantity in (1, 2, 3):
                await market.buy(quantity=quantity)
            await market.runtime.dispatcher.rest()
            assert await market.rows("SELECT units, orders FROM commerce_sales") == [(6, 3)]
            assert await market.rows("SELECT total_minor, orders FROM commerce_takings") == [
                (6 * PRICE, 3)
            ]

    asyncio.run(test())
