"""A cart becomes an order and money, or neither: whatever the provider does, on both engines."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from hansa.assembly import Place
from hansa.business.commerce import api as shop
from hansa.business.commerce.payments import Outcome
from hansa.kernel.actions import Unknown
from hansa.kernel.problems import Problem
from hansa.kernel.structs import Money
from tests.business.commerce.market import PRICE, START, Market, opened

TOKENS = (
    "tok_ok", "tok_declined", "tok_twice", "tok_timeout", "tok_lost", "tok_late", "tok_disorder",
)  # fmt: skip


async def settled(market: Market) -> bool:
    """Whether no attempt is open any more."""
    return not await market.rows(
        "SELECT id FROM hansa_attempts WHERE site = $1 AND status = 0", market.site
    )


async def attempt_of(market: Market) -> str:
    """The one attempt that is open."""
    rows = await market.rows(
        "SELECT id FROM hansa_attempts WHERE site = $1 AND status = 0", market.site
    )
    assert len(rows) == 1
    return str(rows[0][0])


async def check_books(market: Market) -> None:
    """Money is with orders, and orders with money; stock is what the ledger adds up to."""
    orders = await market.orders()
    assert market.kept_money() == sum(one.paid_minor - one.refunded_minor for one in orders)
    sold = sum(
        line.quantity for one in orders for line in one.priced.lines if one.state == "placed"
    )
    assert await market.level() == (10 - sold, 0)
    assert sorted(one.number for one in orders) == list(range(1, len(orders) + 1))


@pytest.mark.parametrize("token", TOKENS)
def test_every_token_ends_in_an_order_with_money_or_in_neither(place: Place, token: str) -> None:
    async def test() -> None:
        async with opened(place) as market:
            first = await market.buy(token, key="k" * 22)
            await market.due_now(15)  # due work takes up what the provider did not tell
            await market.until(lambda: settled(market))
            again = await market.until(lambda: _answer(market, token, "k" * 22))
            if token == "tok_declined":
                assert first == again == "payment-declined"
                assert await market.orders() == []
            else:
                assert isinstance(first, shop.Order | Unknown)
                assert [again] == await market.orders()
                assert again.paid_minor == PRICE
                assert [e.type for e in await market.run(shop.get_order_events, id=again.id)] == [
                    "placed",
                    "paid",
                ]
            await check_books(market)

    async def _answer(market: Market, token: str, key: str) -> Any:
        rows = await market.rows("SELECT id FROM commerce_carts WHERE site = $1", market.site)
        cart = await market.visit(shop.get_cart, id=rows[0][0])
        before = msgspec.structs.replace(cart, version=1)
        answer = await market.pay(before, token, key)
        return None if isinstance(answer, Unknown) else answer

    asyncio.run(test())


def test_a_declined_cart_is_open_again_and_can_be_paid(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            cart = await market.cart()
            assert await market.pay(cart, "tok_declined") == "payment-declined"
            open_again = await market.visit(shop.get_cart, id=cart.id)
            assert (open_again.state, open_again.version) == ("open", 2)
            assert await market.level() == (10, 0)
            order = await market.pay(open_again)
            assert order.cart_id == cart.id
            assert len(await market.events("commerce.payment_declined")) == 1
            await check_books(market)

    asyncio.run(test())


def test_a_timeout_is_settled_by_the_webhook_once(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            market.quiet()
            assert isinstance(await market.buy("tok_timeout"), Unknown)
            assert await market.orders() == []
            attempt = await attempt_of(market)
            outcome = Outcome(True, f"ch_{attempt}")
            said = await asyncio.gather(
                *(market.tell(attempt, "charge", outcome) for _ in range(3))
            )
            assert [one.new for one in said].count(True) == 1
            again = await market.tell(attempt, "charge", outcome, identity="another event")
            assert again.new
            assert len(await market.orders()) == 1
            assert len(await market.events("commerce.order_placed")) == 1
            await check_books(market)

    asyncio.run(test())


def test_a_webhook_and_due_work_at_once_make_one_order(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            market.quiet()
            await market.buy("tok_timeout")
            attempt = await attempt_of(market)
            await market.due_now(15)
            await market.tell(attempt, "charge", Outcome(True, f"ch_{attempt}"))
            await market.until(lambda: settled(market))
            assert len(await market.orders()) == 1
            await check_books(market)

    asyncio.run(test())


def test_webhooks_that_come_out_of_order_change_nothing(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            market.quiet()
            order = await market.buy("tok_disorder")
            await market.run(shop.refund, id=order.id, body=shop.NewRefund(500))
            moves = market.testpay.ledger()
            for move in reversed(moves):  # the refund's before the charge's
                outcome = Outcome(True, move["reference"])
                await market.tell(move["key"], move["purpose"], outcome)
            now = await market.run(shop.get_order, id=order.id)
            assert (now.payment, now.refunded_minor) == ("part_refunded", 500)
            await check_books(market)

    asyncio.run(test())


def test_a_repeated_key_gets_the_first_order(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            cart = await market.cart()
            answers = await asyncio.gather(*(market.pay(cart, key="same" * 6) for _ in range(5)))
            orders = {one.id for one in answers if isinstance(one, shop.Order)}
            assert len(orders) == 1
            assert all(isinstance(one, shop.Order | Unknown) for one in answers)
            assert (await market.pay(cart, key="same" * 6)).id in orders
            # Without the key a completed cart still answers with its order.
            assert (await market.pay(cart)).id in orders
            await check_books(market)

    asyncio.run(test())


def test_a_cart_that_changed_is_not_bought(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            cart = await market.cart()
            lines = (shop.Line(market.variant, 2),)
            await market.visit(shop.change_cart, id=cart.id, body=shop.CartChange(1, lines))
            assert await market.pay(cart) == "cart-changed"
            wrong = shop.Complete(2, Money(1, "EUR"), "tok_ok")
            with pytest.raises(Problem) as refused:
                await market.visit(shop.complete, id=cart.id, body=wrong)
            assert refused.value.slug == "total-changed"
            assert refused.value.more["total_minor"] == 2 * PRICE
            with pytest.raises(Problem, match="version 2"):
                await market.visit(shop.change_cart, id=cart.id, body=shop.CartChange(1, lines))
            empty = await market.visit(shop.create_cart, body=shop.NewCart())
            assert await market.pay(empty) == "cart-empty"
            await check_books(market)

    asyncio.run(test())


def test_two_lines_of_one_item_are_one_demand(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            # medusa#16502: two lines of one item each fit, together they do not.
            cart = await market.cart((market.variant, 6), (market.variant, 5))
            assert [line.quantity for line in cart.priced.lines] == [11]
            assert await market.pay(cart) == "out-of-stock"
            fits = await market.cart((market.variant, 6), (market.variant, 4))
            order = await market.pay(fits)
            assert order.paid_minor == 10 * PRICE
            assert await market.buy() == "out-of-stock"
            await check_books(market)

    asyncio.run(test())


def test_what_is_not_on_sale_or_costs_too_much_is_refused(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            with pytest.raises(Problem) as refused:
                await market.cart(("var_of_nobody", 1))
            assert refused.value.slug == "not-on-sale"
            dear = await market.product("dear", price=2**53 - 1)
            assert (await market.cart((dear, 1))).priced.total_minor == 2**53 - 1
            with pytest.raises(Problem) as refused:
                await market.cart((dear, 2))
            assert refused.value.slug == "total-too-large"

    asyncio.run(test())


def test_a_hold_that_is_over_frees_stock_and_late_money_is_given_back(place: Place) -> None:
    async def test() -> None:
        async with opened(place, test_clock=True) as market:
            market.quiet()
            # vendure#1738: of 10, A holds 5 and does not pay in time; B buys all 10; A must fail.
            assert isinstance(await market.buy("tok_late", 5), Unknown)
            assert await market.level() == (10, 5)
            assert await market.buy(quantity=10) == "out-of-stock"
            await market.runtime.advance(market.site, START + timedelta(minutes=11))
            assert await market.level() == (10, 0)
            order = await market.buy(quantity=10)
            assert order.paid_minor == 10 * PRICE
            attempt = await attempt_of(market)
            await market.tell(attempt, "charge", Outcome(True, f"ch_{attempt}"))
            assert len(await market.events("commerce.payment_orphaned")) == 1
            assert market.kept_money() == 15 * PRICE
            await market.runtime.advance(market.site, START + timedelta(minutes=12))
            assert await market.orders() == [order]
            assert market.kept_money() == 10 * PRICE
            states = await market.rows(
                "SELECT state FROM commerce_payments WHERE site = $1", market.site
            )
            assert sorted(row[0] for row in states) == ["captured", "voided"]

    asyncio.run(test())


def test_money_that_comes_late_still_buys_what_is_there(place: Place) -> None:
    async def test() -> None:
        async with opened(place, test_clock=True) as market:
            market.quiet()
            await market.buy("tok_late", 5)
            await market.runtime.advance(market.site, START + timedelta(minutes=11))
            attempt = await attempt_of(market)
            await market.tell(attempt, "charge", Outcome(True, f"ch_{attempt}"))
            assert [one.paid_minor for one in await market.orders()] == [5 * PRICE]
            await check_books(market)

    asyncio.run(test())
