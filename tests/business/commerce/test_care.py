"""What a shop owes its keeper: secrets that do not stay, money and carts that are not forgotten."""

import asyncio
from datetime import timedelta

import pytest

from hansa.assembly import Cell, Place
from hansa.business.commerce import api as shop
from hansa.business.commerce import tables
from hansa.business.commerce.api.carts import LEFT_AFTER, SWEEP_MAX
from hansa.business.commerce.api.checkout import VOID_AGAIN
from hansa.business.commerce.catalogue import Value
from hansa.business.commerce.payments import Outcome
from hansa.kernel.actions import Unknown
from hansa.kernel.context import Context
from hansa.kernel.problems import Denied, NotFound, Overloaded, Unauthenticated
from hansa.kernel.structs import Money, PageRequest, RawBody
from tests.business.commerce.market import START, Market, Shifted, opened
from tests.business.commerce.test_checkout import attempt_of


async def statements(market: Market, *texts: str) -> None:
    """Change rows past all services."""

    async def work(ctx: Context) -> None:
        for text in texts:
            await ctx.session.run(text, ())

    await market.runtime.commit(work, site=market.site, cause="test", service="commerce")


def test_a_payment_token_is_sealed_and_gone_when_it_has_been_of_use(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            market.quiet()
            assert isinstance(await market.buy("tok_late"), Unknown)
            request = "SELECT request, sealed FROM hansa_attempts WHERE site = $1"
            ((kept, sealed),) = await market.rows(request, market.site)
            assert sealed
            assert kept
            assert b"tok_late" not in bytes(kept)
            attempt = await attempt_of(market)
            await market.tell(attempt, "charge", Outcome(True, f"ch_{attempt}"))
            assert len(await market.orders()) == 1
            ((kept, _),) = await market.rows(request, market.site)
            assert bytes(kept) == b""

    asyncio.run(test())


def test_a_webhook_whose_settling_fails_is_not_taken(place: Place) -> None:
    async def test() -> None:
        async with opened(place, test_clock=True) as market:
            market.quiet()
            await market.buy("tok_late")
            attempt = await attempt_of(market)
            await market.runtime.advance(market.site, START + timedelta(minutes=11))
            await statements(market, "DELETE FROM commerce_stock")
            outcome = Outcome(True, f"ch_{attempt}")
            with pytest.raises(NotFound):
                await market.tell(attempt, "charge", outcome)
            await statements(
                market,
                "INSERT INTO commerce_stock (site, variant_id, on_hand, reserved)"
                f" VALUES ('{market.site}', '{market.variant}', 10, 0)",
            )
            assert (await market.tell(attempt, "charge", outcome)).new
            assert len(await market.orders()) == 1

    asyncio.run(test())


def test_a_webhook_about_nothing_here_says_nothing(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            market.quiet()
            await market.buy("tok_late")
            attempt = await attempt_of(market)
            assert not (await market.tell("att_nobody", "charge", Outcome(True, "x"))).new
            assert not (await market.tell(attempt, "refund", Outcome(True, "x"))).new
            assert await market.orders() == []

    asyncio.run(test())


def test_a_provider_that_will_not_give_back_is_asked_again_and_then_seen(place: Place) -> None:
    async def test() -> None:
        async with opened(place, test_clock=True) as market:
            market.quiet()
            await market.buy("tok_late", 10)
            await market.runtime.advance(market.site, START + timedelta(minutes=11))
            assert (await market.buy(quantity=10)).paid_minor
            attempt = await attempt_of(market)
            await market.tell(attempt, "charge", Outcome(True, "ch_of_somebody_else"))

            async def in_state(state: str) -> list[shop.Payment]:
                page = PageRequest()
                found = await market.run(shop.list_payments, page=page, state=state)
                return list(found.items)

            after = START + timedelta(minutes=12)
            for wait in VOID_AGAIN:
                await market.runtime.advance(market.site, after)
                assert len(await in_state("orphaned")) == 1
                after += wait + timedelta(minutes=1)
            await market.runtime.advance(market.site, after)
            (stuck,) = await in_state("stuck")
            assert stuck.amount.minor == 15_000
            assert stuck.reason
            assert len(await market.events("commerce.payment_stuck")) == 1
            with pytest.raises(Unauthenticated):
                await market.visit(shop.list_payments, page=PageRequest(), state="stuck")

    asyncio.run(test())


def test_carts_that_were_left_are_forgotten_and_no_others(place: Place) -> None:
    async def test() -> None:
        async with opened(place, test_clock=True) as market:
            left, bought = await market.cart(), await market.cart()
            order = await market.pay(bought)
            rows = [
                {
                    "id": f"cart_{number}", "version": 1, "state": "open", "email": "",
                    "lines": (), "order_id": None, "created_at": START, "touched_at": START,
                }
                for number in range(SWEEP_MAX)
            ]  # fmt: skip

            async def fill(ctx: Context) -> None:
                await ctx.db.insert_all(tables.carts, rows)

            await market.runtime.commit(fill, site=market.site, cause="test", service="commerce")
            await market.runtime.advance(market.site, START + LEFT_AFTER - timedelta(days=1))
            kept = await market.cart()
            assert (await market.visit(shop.get_cart, id=left.id)).version == 1
            await market.runtime.advance(market.site, START + LEFT_AFTER + timedelta(days=2))
            with pytest.raises(NotFound):
                await market.visit(shop.get_cart, id=left.id)
            assert (await market.visit(shop.get_cart, id=kept.id)).version == 1
            assert (await market.visit(shop.get_cart, id=bought.id)).order_id == order.id
            counted = "SELECT count(*) FROM commerce_carts WHERE site = $1"
            assert (await market.rows(counted, market.site))[0][0] == 2

    asyncio.run(test())


def test_visitors_see_whether_there_is_some_but_not_how_much(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:

            async def seen() -> str:
                found = await market.visit(shop.get_availability, variant=market.variant)
                return str(found.state)

            assert await seen() == "in_stock"
            await market.buy(quantity=6)
            assert await seen() == "low"
            await market.buy(quantity=4)
            assert await seen() == "out"
            with pytest.raises((Denied, Unauthenticated)):
                await market.visit(shop.get_stock, variant=market.variant)

    asyncio.run(test())


def test_an_action_says_that_its_answer_was_given_before(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            cart = await market.cart()
            total = Money(cart.priced.total_minor, "EUR")
            arguments = {"id": cart.id, "body": shop.Complete(cart.version, total, "tok_ok")}
            answers = [
                await market.runtime.invoke(
                    shop.complete, market.visitor, arguments, key="k" * 22, request_hash="r"
                )
                for _ in range(2)
            ]
            assert answers[0].body == answers[1].body
            assert answers[0].headers == []
            assert answers[1].headers == [("idempotency-replayed", "true")]

    asyncio.run(test())


def test_without_a_provider_nothing_is_promised(place: Place) -> None:
    async def test() -> None:
        cell = Cell(place)
        await cell.open()
        try:
            market = Market(cell, Shifted())
            await market.make()
            cart = await market.cart()
            assert await market.pay(cart) == "no-payment-provider"
            assert await market.level() == (10, 0)
            assert (await market.visit(shop.get_cart, id=cart.id)).state == "open"
            assert not (place.folder / "testpay.db").exists()
            with pytest.raises(Overloaded):
                await market.visit(shop.receive_webhook, raw=RawBody(b"", {}))
        finally:
            await cell.close()

    asyncio.run(test())


def test_a_product_has_a_bound_on_all_its_text() -> None:
    form = shop.NewVariant("mug", Money(1, "EUR"))
    many: dict[str, Value] = {f"a{number}": "x" * 20_000 for number in range(5)}
    with pytest.raises(ValueError, match="attributes have 100010 letters"):
        shop.NewProduct("mug", "Mug", (form,), attributes=many)
    with pytest.raises(ValueError, match="attributes have"):
        shop.ProductChange(1, attributes=many)
    del many["a4"]
    assert shop.NewProduct("mug", "Mug", (form,), attributes=many).attributes == many
