"""A shop sells the same way in one process and in many, on one database and on many, with a network
that is whole and with one that is not."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.topology.fleet import Fleet
from tests.topology.shopping import PRICE, STOCK, Shop
from tests.topology.wire import FAULTS

BUYERS = 16


def check_books(shop: Shop, sold: int) -> None:
    """Orders have numbers without a gap, each is paid for once, and stock is what is left."""
    orders = shop.orders()
    assert [one["number"] for one in orders] == list(range(1, len(orders) + 1))
    assert sum(one["paid_minor"] for one in orders) == sold * PRICE
    assert shop.level() == (STOCK - sold, 0)
    assert shop.charged() == [one["paid_minor"] for one in orders]


def test_a_cart_becomes_an_order(shop: Shop) -> None:
    order = shop.buy(2)
    assert (order["number"], order["paid_minor"]) == (1, 2 * PRICE)
    happened = shop.keeper.get(f"/commerce/orders/{order['id']}/events")
    assert [one["type"] for one in happened] == ["placed", "paid"]
    check_books(shop, sold=2)


@pytest.mark.parametrize("token", ["tok_twice", "tok_disorder", "tok_late"])
def test_however_the_provider_behaves_there_is_one_order(shop: Shop, token: str) -> None:
    cart = shop.cart()
    assert shop.complete(cart, token).status == 200
    bought = shop.visitor.get(f"/commerce/carts/{cart['id']}")
    (order,) = shop.orders()
    assert (bought["state"], bought["order_id"]) == ("completed", order["id"])
    check_books(shop, sold=1)


def test_a_declined_cart_can_be_paid_again(shop: Shop) -> None:
    cart = shop.cart()
    declined = shop.complete(cart, "tok_declined")
    assert (declined.status, declined.slug) == (402, "payment-declined")
    cart = shop.visitor.get(f"/commerce/carts/{cart['id']}")
    assert (cart["state"], shop.level()) == ("open", (STOCK, 0))
    assert shop.complete(cart).status == 200
    check_books(shop, sold=1)


def test_a_crowd_buys_what_there_is_and_no_more(shop: Shop) -> None:
    def buy(_: int) -> str:
        reply = shop.complete(shop.cart())
        return "" if reply.status == 200 else reply.slug

    with ThreadPoolExecutor(8) as crowd:
        ends = sorted(crowd.map(buy, range(BUYERS)))
    assert ends == [""] * STOCK + ["out-of-stock"] * (BUYERS - STOCK)
    check_books(shop, sold=STOCK)


def test_one_key_is_one_order_wherever_it_is_sent(shop: Shop) -> None:
    cart = shop.cart()
    with ThreadPoolExecutor(6) as crowd:
        done = list(crowd.map(lambda _: shop.complete(cart, key="k" * 22), range(6)))
    assert {one.status for one in done} == {200}
    assert len(shop.orders()) == 1
    other = shop.visitor.ask("POST", "/commerce/carts", {"lines": []}, key="c" * 22)
    again = shop.visitor.ask("POST", "/commerce/carts", {"lines": []}, key="c" * 22)
    assert (again.status, again.body) == (other.status, other.body)
    assert again.headers["idempotency-replayed"] == "true"
    refused = shop.visitor.ask("POST", "/commerce/carts", {"email": "b@b.example"}, key="c" * 22)
    assert refused.status == 422
    check_books(shop, sold=1)


def test_money_and_goods_go_back(shop: Shop) -> None:
    order = shop.buy(2)
    path = f"/commerce/orders/{order['id']}"
    assert shop.keeper.ask("POST", f"{path}/refunds", {"amount_minor": 500}).status == 200
    refunded = shop.keeper.get(path)
    assert (refunded["payment"], refunded["refunded_minor"]) == ("part_refunded", 500)
    too_much = shop.keeper.ask("POST", f"{path}/refunds", {"amount_minor": 2 * PRICE})
    assert too_much.status == 409
    assert shop.keeper.ask("POST", f"{path}/cancel").status == 200
    assert (shop.keeper.get(path)["refunded_minor"], shop.level()) == (2 * PRICE, (STOCK, 0))
    assert shop.charged("refund") == [500, 2 * PRICE - 500]


def test_a_key_opens_its_own_site_and_what_it_says(shop: Shop) -> None:
    reader = shop.holder("commerce.orders:read")
    assert reader.get("/commerce/orders")["items"] == []
    assert reader.ask("POST", "/commerce/products", {"handle": "x"}).status == 403
    assert shop.visitor.ask("GET", "/commerce/orders").status == 401
    other = shop.other()
    assert other.keeper.ask("GET", f"/commerce/products/{shop.handle}").status == 404
    strange = other.keeper.ask("GET", "/commerce/orders", **{"Hansa-Site": shop.site})
    assert strange.status == 403
    assert shop.keeper.ask("GET", "/sites").status == 403


def test_refusals_are_the_same_problems_everywhere(shop: Shop) -> None:
    missing = shop.visitor.ask("GET", "/commerce/products/none")
    assert (missing.status, missing.headers["content-type"]) == (404, "application/problem+json")
    wrong = shop.keeper.ask("POST", "/commerce/products", {"handle": 7})
    assert (wrong.status, wrong.slug) == (400, "invalid-request")
    stale = shop.cart()
    stale["version"] = 9
    assert (shop.complete(stale).status, shop.complete(stale).slug) == (409, "cart-changed")


def test_the_network_was_as_bad_as_it_should_be(shop: Shop, fleet: Fleet) -> None:
    while fleet.wires and set(fleet.faults) < {*FAULTS, "pass"}:
        shop.cart()  # which takes no stock, however long a fault is not drawn
    assert bool(fleet.wires) == (fleet.seed is not None)
