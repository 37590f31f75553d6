"""Paying: a cart becomes an order, once, however often the button is pressed."""

import re
from typing import Any, Final

from starlette.background import BackgroundTasks
from starlette.responses import Response

from hansa.kernel.problems import Conflict, NotFound, Problem, Unprocessable
from hansa.storefront import cookies
from hansa.storefront.answers import Cart, Order
from hansa.storefront.asking import StillOpen
from hansa.storefront.carting import CARTS, bought, cart_of, cart_page
from hansa.storefront.product import tell_use
from hansa.storefront.visit import Visit, back

TOTAL_MAX: Final = 2**53 - 1
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")


async def complete(visit: Visit) -> Response:
    """Buy what is in the cart, for the total that the visitor has seen."""
    version = visit.sent_number("version", 10**9)
    total = visit.sent_number("total", TOTAL_MAX)
    email, token = visit.sent("email", 1_000).strip(), visit.sent("payment")
    cart = await cart_of(visit)
    if cart is None:
        return back("/cart")
    if cart.state != "open":
        return back("/cart")  # it is under way, or done: a second click buys nothing more
    try:
        if _EMAIL.fullmatch(email) is None:
            raise Unprocessable("That is no address for mail; it looks like name@example.com.")
        cart = await _with_email(visit, cart, version, email)
        await _pay(visit, cart, total, token)
    except StillOpen:
        return back("/cart")
    except Problem as problem:
        return cart_page(visit, await cart_of(visit), problem, email)
    response = bought(visit, cart)
    response.background = _conversions(visit, cart)
    return response


async def _with_email(visit: Visit, cart: Cart, version: int, email: str) -> Cart:
    """Return the cart with the address that was typed. Raises Conflict where it is not the cart any
    more that the visitor saw: one version on it is ours, whose answer was lost."""
    ours = cart.version == version + 1 and cart.email == email
    if cart.version != version and not ours:
        raise Conflict("The cart was changed meanwhile. Look at it again before you pay.",
                       slug="cart-changed")  # fmt: skip
    if cart.email == email:
        return cart
    lines = [{"variant_id": one.variant_id, "quantity": one.quantity} for one in cart.priced.lines]
    body = {"version": version, "lines": lines, "email": email}
    return await visit.asking.send("PUT", f"{CARTS}/{cart.id}", body, Cart)


async def _pay(visit: Visit, cart: Cart, total: int, token: str) -> Order:
    """Complete a version of a cart, once for each. Raises Problem, and StillOpen."""
    return await visit.asking.send(
        "POST", f"{CARTS}/{cart.id}/complete", _last_word(cart, total, token), Order,
        key=f"shop-{cart.id}-{cart.version}",
    )  # fmt: skip


def _last_word(cart: Cart, total: int, token: str) -> dict[str, Any]:
    return {
        "version": cart.version,
        "expected_total": {"minor": total, "currency": cart.priced.currency},
        "payment": token,
    }


def _conversions(visit: Visit, cart: Cart) -> BackgroundTasks:
    """Return what tells search which of what was bought it had found."""
    tasks = BackgroundTasks()
    products = {line.product_id for line in cart.priced.lines}
    for find in cookies.read_finds(visit.request.cookies.get(cookies.FOUND, "")):
        if find.product in products:
            tasks.add_task(tell_use, visit, "convert", find)
    return tasks


async def show_thanks(visit: Visit) -> Response:
    """What was bought last."""
    known = cookies.read_basket(visit.request.cookies.get(cookies.ORDER, ""))
    try:
        cart = await visit.asking.get(f"{CARTS}/{known.cart}", Cart) if known.cart else None
    except NotFound:
        cart = None
    if cart is None or cart.state != "completed":
        return back("/cart")
    order: Order | None = None
    try:  # of a completed cart this gives the order again, and can buy nothing
        body = _last_word(cart, cart.priced.total_minor, "none")
        order = await visit.asking.send("POST", f"{CARTS}/{cart.id}/complete", body, Order)
    except (Problem, StillOpen):
        pass  # the number is a courtesy
    return visit.page("thanks.html", cart=cart, order=order)
