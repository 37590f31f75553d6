"""Carting: what a visitor means to buy: put into the cart, changed, shown."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.responses import Response

from hansa.kernel.problems import Conflict, NotFound, Problem
from hansa.storefront import cookies
from hansa.storefront.answers import Cart
from hansa.storefront.cookies import Basket
from hansa.storefront.product import found_by
from hansa.storefront.visit import Visit, back

CARTS: Final = "/commerce/carts"
TRIES: Final = 4
"""How often a change is made anew that met another one, as of a second window."""
QUANTITY_MAX: Final = 99
TOKENS: Final = (
    ("tok_ok", "A card that pays"),
    ("tok_declined", "A card that is declined"),
    ("tok_timeout", "A bank that does not answer at once"),
)
"""How the test provider can be paid (docs/http.md)."""

_WORDS: Final = {
    "out-of-stock": "Somebody was faster: there is not enough left of something in the cart.",
    "payment-declined": "The payment was declined. Nothing was taken; try another way to pay.",
    "cart-changed": "The cart was changed meanwhile. Look at it again before you pay.",
    "total-changed": "A price has changed meanwhile. Look at the new total before you pay.",
    "not-on-sale": "Something in the cart is not on sale any more.",
    "no-payment-provider": "This shop takes no payments yet.",
}
"""What visitors are told of refusals whose own words are for programs."""


async def show_cart(visit: Visit) -> Response:
    """The cart, and the way to pay it."""
    cart = await cart_of(visit)
    if cart is not None and cart.state == "completed":
        return bought(visit, cart)
    if cart is not None and cart.state == "completing":
        return visit.page("waiting.html")
    return cart_page(visit, cart)


async def add(visit: Visit) -> Response:
    """Put something into the cart, made where there is none."""
    variant = visit.sent("variant")
    quantity = max(1, visit.sent_number("quantity", QUANTITY_MAX))
    cart = await cart_of(visit)
    if cart is None or cart.state != "open":
        lines = [{"variant_id": variant, "quantity": quantity}]
        cart = await visit.asking.send("POST", CARTS, {"lines": lines}, Cart)
    else:
        cart = await changed(visit, cart, variant, quantity, more=True)
    response = back("/cart")
    visit.keep_basket(response, Basket(cart.id, cart.pieces))
    find = found_by(visit.form.get("found", ""))
    if find is not None:
        known = cookies.read_finds(visit.request.cookies.get(cookies.FOUND, ""))
        visit.keep(response, cookies.FOUND, cookies.with_find(known, find), cookies.FOUND_S)
    return response


async def change(visit: Visit) -> Response:
    """Have another number of something in the cart; 0 takes it out."""
    variant = visit.sent("variant")
    quantity = visit.sent_number("quantity", QUANTITY_MAX)
    cart = await cart_of(visit)
    if cart is not None and cart.state == "open":
        cart = await changed(visit, cart, variant, quantity, more=False)
    response = back("/cart")
    if cart is not None:
        visit.keep_basket(response, Basket(cart.id, cart.pieces))
    return response


async def cart_of(visit: Visit) -> Cart | None:
    """Return the visitor's cart as the shop has it, None where there is none any more."""
    if not visit.basket.cart:
        return None
    try:
        return await visit.asking.get(f"{CARTS}/{visit.basket.cart}", Cart)
    except NotFound:
        return None


async def changed(visit: Visit, cart: Cart, variant: str, quantity: int, *, more: bool) -> Cart:
    """Return a cart with another number of something in it, or so many `more`; what is not on sale
    any more is taken out. Raises Problem."""
    for again in range(TRIES):
        lines = {line.variant_id: line.quantity for line in cart.priced.lines}
        wanted = min(QUANTITY_MAX, lines.get(variant, 0) + quantity) if more else quantity
        lines = {**lines, variant: wanted}
        body = {"version": cart.version, "lines": _lines(lines)}
        try:
            return await visit.asking.send("PUT", f"{CARTS}/{cart.id}", body, Cart)
        except Conflict:
            if again == TRIES - 1:
                raise
        cart = await visit.asking.get(f"{CARTS}/{cart.id}", Cart)
    raise AssertionError("not reached")


def _lines(lines: dict[str, int]) -> Sequence[dict[str, Any]]:
    return [{"variant_id": one, "quantity": count} for one, count in lines.items() if count]


def cart_page(
    visit: Visit, cart: Cart | None, problem: Problem | None = None, email: str | None = None
) -> Response:
    """Return the page of a cart, with what went wrong; `email` is what was typed."""
    typed = email if email is not None else cart.email if cart is not None else ""
    told = problem and _WORDS.get(problem.slug, problem.public or problem.detail or problem.title)
    status = 200 if problem is None else problem.status
    response = visit.page(
        "cart.html", status, cart=cart, told=told, email=typed, tokens=TOKENS, most=QUANTITY_MAX
    )
    basket = Basket() if cart is None else Basket(cart.id, cart.pieces)
    if basket != visit.basket:
        visit.keep_basket(response, basket)
    return response


def bought(visit: Visit, cart: Cart) -> Response:
    """Return the way to what was bought; the next thing goes into another cart."""
    response = back("/thanks")
    visit.keep(response, cookies.ORDER, cart.id, cookies.ORDER_S)
    visit.keep_basket(response, Basket())
    visit.keep(response, cookies.FOUND, "", 0)
    return response
