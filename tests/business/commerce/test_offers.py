"""What a visitor may see: what is on sale, and what was bought as it was bought."""

import asyncio

import msgspec
import pytest

from hansa.assembly import OPERATOR, Place
from hansa.business.commerce import api as shop
from hansa.business.commerce.catalogue import VARIANTS_MAX
from hansa.kernel.problems import Conflict, Denied, NotFound, Problem, Unprocessable
from hansa.kernel.structs import Money, PageRequest
from hansa.platform.sites import api as sites
from tests.business.commerce.market import PRICE, START, Market, opened


async def archive(market: Market, handle: str) -> None:
    found = await market.visit(shop.get_product, handle=handle)
    change = shop.ProductChange(found.product.version, status="archived")
    await market.run(shop.change_product, id=found.product.id, body=change)


def test_a_cart_can_be_read_and_mended_when_a_product_is_gone(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            cup = await market.product("cup", price=200)
            cart = await market.cart((market.variant, 2), (cup, 3))
            await archive(market, "cup")
            seen = await market.visit(shop.get_cart, id=cart.id)
            assert seen.gone == (shop.Line(cup, 3),)
            assert [line.variant_id for line in seen.priced.lines] == [market.variant]
            assert seen.priced.total_minor == 2 * PRICE
            assert await market.pay(seen) == "not-on-sale"
            assert await market.level() == (10, 0)
            left = (shop.Line(market.variant, 2),)
            mended = await market.visit(
                shop.change_cart, id=cart.id, body=shop.CartChange(cart.version, left)
            )
            assert mended.gone == ()
            assert (await market.pay(mended)).paid_minor == 2 * PRICE

    asyncio.run(test())


def test_a_completed_cart_shows_what_was_bought(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            cart = await market.cart((market.variant, 3))
            order = await market.pay(cart)
            await archive(market, "mug")
            seen = await market.visit(shop.get_cart, id=cart.id)
            assert (seen.state, seen.order_id, seen.gone) == ("completed", order.id, ())
            assert seen.priced == order.priced == cart.priced
            assert await market.run(shop.get_order, id=order.id) == order

    asyncio.run(test())


@pytest.mark.parametrize("handle", ["mug\n", "Mug", "mug-", "-mug", "m ug", "prod_1", ""])
def test_a_handle_is_small_letters_with_dashes(handle: str) -> None:
    form = {"sku": "mug-1", "price": {"minor": 1, "currency": "EUR"}}
    body = {"handle": "mug", "title": "Mug", "variants": [form]}
    assert msgspec.convert(body, shop.NewProduct).handle == "mug"
    with pytest.raises(msgspec.ValidationError, match="handle"):
        msgspec.convert(body | {"handle": handle}, shop.NewProduct)


@pytest.mark.parametrize("email", ["ann", "ann@", "@here", "a@b@c", "ann @here", "ann@here\n"])
def test_an_address_may_be_missing_but_not_be_none(email: str) -> None:
    assert msgspec.convert({}, shop.NewCart).email == ""
    assert msgspec.convert({"email": "ann@shop.example"}, shop.NewCart).email
    with pytest.raises(msgspec.ValidationError, match="email"):
        msgspec.convert({"email": email}, shop.NewCart)


@pytest.mark.parametrize("status", ["draft", "archived"])
def test_what_is_not_on_sale_is_not_found(place: Place, status: str) -> None:
    async def test() -> None:
        async with opened(place) as market:
            form = shop.NewVariant("hidden-1", Money(1, "EUR"))
            hidden = shop.NewProduct("hidden", "Hidden", (form,), status=status)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            await market.run(shop.create_product, body=hidden)
            assert (await market.visit(shop.find_variant, sku="mug-1")).id == market.variant
            with pytest.raises(NotFound):
                await market.visit(shop.find_variant, sku="hidden-1")
            with pytest.raises(NotFound):
                await market.visit(shop.get_product, handle="hidden")
            with pytest.raises(Denied):
                await market.visit(shop.list_products, page=PageRequest(), status=status)

            kept = await market.run(shop.list_products, page=PageRequest(), status=status)
            (product,) = kept.items
            for name in ("hidden", product.id):
                seen = await market.run(shop.get_product, handle=name)
                assert (seen.product, len(seen.variants)) == (product, 1)
            with pytest.raises(NotFound):
                await market.visit(shop.get_product, handle=product.id)
            on_sale = await market.visit(shop.list_products, page=PageRequest())
            assert [one.handle for one in on_sale.items] == ["mug"]

    asyncio.run(test())


def test_a_price_changes_for_carts_and_not_for_orders(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            order = await market.pay(await market.cart())
            cart = await market.cart()
            dearer = shop.VariantChange(1, price=Money(PRICE + 50, "EUR"))
            changed = await market.run(shop.change_variant, id=market.variant, body=dearer)
            assert changed.product.version == 2
            assert [one.price.minor for one in changed.variants] == [PRICE + 50]
            assert await market.pay(cart) == "total-changed"
            seen = await market.visit(shop.get_cart, id=cart.id)
            assert seen.priced.total_minor == PRICE + 50
            assert (await market.pay(seen)).paid_minor == PRICE + 50
            assert (await market.run(shop.get_order, id=order.id)).priced == order.priced

            with pytest.raises(Conflict, match="version 2, not 1"):
                await market.run(shop.change_variant, id=market.variant, body=dearer)
            dollars = shop.VariantChange(2, price=Money(1, "USD"))
            with pytest.raises(Unprocessable, match="sells in EUR"):
                await market.run(shop.change_variant, id=market.variant, body=dollars)
            titled = shop.VariantChange(2, title="Blue")
            blue = await market.run(shop.change_variant, id=market.variant, body=titled)
            assert (blue.variants[0].title, blue.variants[0].price.minor) == ("Blue", PRICE + 50)

    asyncio.run(test())


def test_a_product_gets_further_variants(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            product = (await market.visit(shop.get_product, handle="mug")).product.id
            form = shop.NewVariant("mug-xl", Money(700, "EUR"), "Large", stock=3)
            more = shop.MoreVariants(1, (form,))
            grown = await market.run(shop.add_variants, id=product, body=more)
            assert [one.sku for one in grown.variants] == ["mug-1", "mug-xl"]
            large = grown.variants[1].id
            assert (await market.pay(await market.cart((large, 3)))).paid_minor == 2_100
            assert await market.pay(await market.cart((large, 1))) == "out-of-stock"

            with pytest.raises(Conflict, match="version 2, not 1"):
                await market.run(shop.add_variants, id=product, body=more)
            with pytest.raises(Conflict):
                again = shop.MoreVariants(2, (form,))
                await market.run(shop.add_variants, id=product, body=again)
            left = (await market.visit(shop.get_product, handle=product)).product
            assert left.version == 2, "what is refused leaves nothing"
            many = tuple(
                shop.NewVariant(f"m-{n}", Money(1, "EUR")) for n in range(VARIANTS_MAX - 1)
            )
            with pytest.raises(Unprocessable, match="at most"):
                body = shop.MoreVariants(2, many)
                await market.run(shop.add_variants, id=product, body=body)

    asyncio.run(test())


def test_takings_are_of_the_day_at_the_site(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            clock = sites.TestClock(START)  # noon in UTC, already tomorrow on Kiritimati
            far = sites.NewSite("far", zone="Pacific/Kiritimati", clock=clock)
            made = await market.runtime.do(sites.create_site, OPERATOR, {"body": far})
            market.site = made.id
            market.variant = await market.product("mug")
            order = await market.buy()
            assert order.created_at == START
            await market.runtime.dispatcher.rest()
            days = await market.rows(
                "SELECT day FROM commerce_takings WHERE site = $1", market.site
            )
            assert days == [("2026-01-02",)]

    asyncio.run(test())


@pytest.mark.parametrize(
    ("first", "after", "products"), [(5, 5, 0), (5, 4, 0), (0, 2, 0), (1, 1 << 60, 0), (1, 2, 2)]
)
def test_an_import_only_goes_on(first: int, after: int, products: int) -> None:
    made = [
        {"handle": f"p-{n}", "title": "P", "variants": [
            {"sku": f"p-{n}", "price": {"minor": 1, "currency": "EUR"}}
        ]}
        for n in range(products)
    ]  # fmt: skip
    batch = {"source": "x", "first_line": first, "next_line": after, "products": made}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(batch, shop.ImportBatch)


def test_a_refusal_names_what_is_taken(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            form = shop.NewVariant("mug-1", Money(1, "EUR"))
            for handle in ("mug", "other"):
                with pytest.raises(Problem) as refused:
                    body = shop.NewProduct(handle, "Mug", (form,))
                    await market.run(shop.create_product, body=body)
                fields = ["handle"] if handle == "mug" else ["sku"]
                assert (refused.value.slug, refused.value.more["fields"]) == (
                    "already-exists", fields,
                )  # fmt: skip
            with pytest.raises(NotFound):
                await market.visit(shop.get_product, handle="other")

    asyncio.run(test())
