"""Buying over plain HTTP: once, at the price that was seen, and only by forms of the shop."""

import asyncio

from hansa.business.commerce.api import change_variant, list_orders
from hansa.business.commerce.catalogue import VariantChange
from hansa.kernel.structs import Money, PageRequest
from hansa.testing.cell import TestCell
from hansa.testing.split import SplitCell
from tests.storefront.shopper import FORM, Shopper, fields_of, link_of, product, shop_at, text_of


async def orders(shopper: Shopper) -> int:
    return len((await shopper.site.call(list_orders, PageRequest(20))).items)


async def bought(shopper: Shopper) -> None:
    """From a typing error to the order."""
    found = await shopper.get("/?q=bule+mug")
    await shopper.buy("blue-mug", link_of(found, "Blue mug").removeprefix("/products/blue-mug"), 2)
    cart = await shopper.buy("kettle")
    assert "€79.00" in text_of(cart)
    assert "Cart 3 things" in text_of(cart)
    page = await shopper.follow(await shopper.pay(cart))
    assert "Order 1" in text_of(page)
    assert "a@b.example" in text_of(page)
    assert "€79.00" in text_of(page)
    assert "things" not in text_of(await shopper.get("/cart"))
    assert await orders(shopper) == 1


async def test_a_visitor_buys(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    await bought(shopper)
    used = "SELECT kind, place FROM search_clicks ORDER BY kind"
    await cell.until_rows([("click", 1), ("convert", 1)], used)


async def test_a_picture_on_the_page_of_another_is_no_click(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    address = link_of(await shopper.get("/?q=mug"), "Blue mug")
    for site in ("cross-site", "same-site", "none"):
        assert (await shopper.get(address, **{"sec-fetch-site": site})).status == 200
    assert "POST /search/events" not in shopper.asked
    await shopper.get(address)
    assert "POST /search/events" in shopper.asked


async def test_it_makes_no_difference_where_the_services_are(split_cell: SplitCell) -> None:
    await bought(await shop_at(split_cell))


async def test_a_button_that_is_pressed_twice_buys_once(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    cart = await shopper.buy("blue-mug")
    kept = dict(shopper.cookies)
    assert (await shopper.pay(cart)).headers["location"] == "/shop/thanks"
    shopper.cookies = kept  # as of a second click, sent before the first was answered
    again = await shopper.pay(cart)
    assert "Order 1" in text_of(await shopper.follow(again))
    shopper.cookies = {}
    cart = await shopper.buy("kettle")
    await asyncio.gather(*(shopper.pay(cart) for _ in range(3)))
    assert await orders(shopper) == 2
    assert cell.cell.provider is not None
    assert sorted(one["amount"] for one in cell.cell.provider.ledger()) == [1_500, 4_900]


async def test_a_payment_that_is_declined_leaves_the_cart(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    cart = await shopper.buy("blue-mug")
    declined = await shopper.pay(cart, "tok_declined")
    assert declined.status == 402
    assert "The payment was declined" in text_of(declined)
    assert 'value="a@b.example"' in declined.body.decode()
    assert "Order 1" in text_of(await shopper.follow(await shopper.pay(declined)))


async def test_a_bank_that_does_not_answer_at_once(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    waiting = await shopper.follow(await shopper.pay(await shopper.buy("blue-mug"), "tok_late"))
    assert "The bank has not answered yet" in text_of(waiting)
    assert 'http-equiv="refresh"' in waiting.body.decode()

    async def is_paid() -> bool:
        return (await shopper.get("/cart")).status == 303

    await cell.until(is_paid)
    assert "Order 1" in text_of(await shopper.get("/thanks"))
    assert await orders(shopper) == 1


async def test_only_what_was_seen_is_paid(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    cart = await shopper.buy("blue-mug")
    whole = await shopper.get("/products/blue-mug")
    variant = fields_of(whole)["variant"]
    price = Money(9_900, "EUR")
    await shopper.site.call(change_variant, variant, VariantChange(1, price))
    refused = await shopper.pay(cart)
    assert refused.status == 409
    assert "A price has changed meanwhile" in text_of(refused)
    assert "Buy for €99.00" in text_of(refused)
    other = await shopper.buy("kettle")
    assert (await shopper.pay(cart)).status == 409  # the page of before, in another window
    assert "Order 1" in text_of(await shopper.follow(await shopper.pay(other)))


async def test_numbers_of_a_cart(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    cart = await shopper.buy("blue-mug")
    cart = await shopper.buy("blue-mug")
    assert "€30.00" in text_of(cart)
    line = fields_of(cart, "/cart/change")
    cart = await shopper.follow(await shopper.post("/cart/change", {**line, "quantity": "4"}))
    assert "€60.00" in text_of(cart)
    cart = await shopper.follow(await shopper.post("/cart/change", {**line, "quantity": "0"}))
    assert "There is nothing in it yet" in text_of(cart)
    for quantity in ("-1", "100", "1.5", "", "many"):
        reply = await shopper.post("/cart/change", {**line, "quantity": quantity})
        assert reply.status == 400, quantity
    lost = await shopper.post("/cart/lines", {"variant": "var_of_nobody", "quantity": "1"})
    assert lost.status == 422


async def test_what_is_sold_out_is_not_sold(cell: TestCell) -> None:
    one = product("last-mug", "Last mug", 1_500, stock=1)
    shopper = await shop_at(cell, [one, product("no-mug", "No mug", 1_500, stock=0)])
    assert "Only a few left" in text_of(await shopper.get("/products/last-mug"))
    gone = await shopper.get("/products/no-mug")
    assert "Sold out" in text_of(gone)
    assert "disabled" in gone.body.decode()
    refused = await shopper.pay(await shopper.buy("last-mug", quantity=2))
    assert refused.status == 409
    assert "there is not enough left" in text_of(refused)
    assert await orders(shopper) == 0


async def test_an_address_for_mail_is_asked_for(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    cart = await shopper.buy("blue-mug")
    for email in ("", "nobody", "a@b c", "a@b\n@c", "x" * 300 + "@b.example"):
        refused = await shopper.pay(cart, email=email)
        assert refused.status == 422, email
    assert await orders(shopper) == 0


async def test_a_form_of_another_website_is_refused(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    page = await shopper.get("/products/blue-mug")
    fields = {**fields_of(page), "quantity": "1"}
    kind = {"content-type": FORM["content-type"]}
    for headers in (
        kind,
        {**kind, "sec-fetch-site": "cross-site"},
        {**kind, "sec-fetch-site": "same-site"},
        {**kind, "origin": "http://evil.test"},
        {**kind, "origin": "null"},
    ):
        for path in ("/cart/lines", "/cart/change", "/cart/complete"):
            reply = await shopper.post(path, fields, headers)
            assert reply.status == 403
            assert "set-cookie" not in reply.headers
    own = await shopper.post("/cart/lines", fields, {**kind, "origin": "http://shop.test"})
    assert own.status == 303
    assert (await shopper.get("/cart/lines")).status == 405
    assert (
        await shopper.post("/cart/lines", fields, {"sec-fetch-site": "same-origin"})
    ).status == 400


async def test_the_cart_is_kept_close(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    page = await shopper.get("/products/blue-mug")
    fields = {**fields_of(page), "quantity": "1"}
    cookie = (await shopper.post("/cart/lines", fields)).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", "Path=/shop"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    secure = await shopper.post("/cart/lines", fields, {**FORM, "x-forwarded-proto": "https"})
    assert "Secure" in secure.headers["set-cookie"].split("; ")
    other = await shop_at(cell, [product("tin", "Tin mug", 500)], "other.test")
    other.cookies = shopper.cookies
    assert "There is nothing in it yet" in text_of(await other.get("/cart"))
    shopper.cookies = {"hansa_cart": "cart_../orders", "hansa_order": "x", "hansa_found": "~~"}
    assert "There is nothing in it yet" in text_of(await shopper.get("/cart"))
    assert (await shopper.get("/thanks")).headers["location"] == "/shop/cart"
