"""A visitor without a browser: keeps cookies, follows the way after a form, reads the page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import urlencode

from hansa.assembly import OPERATOR
from hansa.business.commerce.api import create_product
from hansa.business.commerce.catalogue import NewProduct, NewVariant
from hansa.kernel.http.message import Request, Response
from hansa.kernel.structs import Money
from hansa.platform.sites.api import NewSite, create_site
from hansa.storefront import MOUNT, Door
from hansa.testing.cell import TestCell, TestSite
from tests.kernel.http.client import AsgiClient, Reply

HOST = "shop.test"
FORM = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}


def product(
    handle: str, title: str, minor: int, currency: str = "EUR", stock: int = 5, **attributes: Any
) -> NewProduct:
    variant = NewVariant(handle.upper(), Money(minor, currency), "", stock)
    return NewProduct(handle, title, (variant,), attributes=attributes)


MUGS = (
    product("blue-mug", "Blue mug", 1_500, brand="Kogge", group="Kitchen", material="Stoneware"),
    product("red-mug", "Red mug", 1_900, brand="Kogge", group="Kitchen", material="Porcelain"),
    product("kettle", "Enamel kettle", 4_900, brand="Kogge", group="Kitchen", material="Steel"),
    product("board", "Oak board", 3_900, brand="Fehn", group="Kitchen", material="Oak"),
    product("lamp", "Paper lamp", 5_900, brand="Fehn", group="Home", material="Paper"),
    product("vase", "Clay vase", 3_400, brand="Fehn", group="Home", material="Stoneware"),
)


async def shop_at(
    cell: TestCell, products: Sequence[NewProduct] = MUGS, host: str = HOST, currency: str = "EUR"
) -> "Shopper":
    """Make a site that sells, and return somebody who can find all of it there."""
    form = NewSite(host, currency=currency, hosts=(host,))
    made = await cell.runtime.do(create_site, OPERATOR, {"body": form})
    site = TestSite(cell, made.id)
    for one in products:
        await site.call(create_product, one)
    shopper = Shopper(cell, site, host)
    await cell.rest()

    async def is_found() -> bool:
        page = await shopper.get("/")
        assert page.status == 200 or b'http-equiv="refresh"' in page.body, text_of(page)
        return f"{len(products)} product" in text_of(page)

    if products:
        await cell.until(is_found)
    return shopper


@dataclass
class Shopper:
    cell: TestCell
    site: TestSite
    host: str = HOST
    cookies: dict[str, str] = field(default_factory=dict[str, str])
    asked: list[str] = field(default_factory=list[str])
    """What the pages have asked of the API since it was last cleared."""
    client: AsgiClient = field(init=False)

    def __post_init__(self) -> None:
        app = self.cell.cell.app
        real, asked = app.respond, self.asked

        async def respond(request: Request) -> Response:
            asked.append(f"{request.method} {request.path}")
            return await real(request)

        app.respond = respond  # type: ignore[method-assign]
        self.client = AsgiClient(app, {MOUNT: Door(self.cell.runtime, app)})

    async def get(self, path: str, **headers: str) -> Reply:
        said = {**self._headers(), "sec-fetch-site": "same-origin", **headers}
        return self._kept(await self.client.send("GET", MOUNT + path, headers=said))

    async def post(
        self, path: str, fields: dict[str, str], headers: dict[str, str] | None = None
    ) -> Reply:
        """Send a form as it is."""
        sent = {**self._headers(), **(FORM if headers is None else headers)}
        body = urlencode(fields).encode()
        return self._kept(await self.client.send("POST", MOUNT + path, body, sent))

    async def follow(self, reply: Reply) -> Reply:
        """Go where a form has led."""
        assert reply.status == 303, reply.body
        while reply.status == 303:
            reply = await self.get(reply.headers["location"].removeprefix(MOUNT))
        return reply

    async def buy(self, handle: str, trail: str = "", quantity: int = 1) -> Reply:
        """Put a product into the cart, as its page offers it; return the cart."""
        page = await self.get(f"/products/{handle}{trail}")
        return await self.follow(
            await self.post("/cart/lines", {**fields_of(page), "quantity": str(quantity)})
        )

    async def pay(self, cart: Reply, token: str = "tok_ok", email: str = "a@b.example") -> Reply:
        """Send the form of a cart's page."""
        fields = {**fields_of(cart, "/cart/complete"), "payment": token, "email": email}
        return await self.post("/cart/complete", fields)

    def _headers(self) -> dict[str, str]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"host": self.host, "user-agent": "a test", **({"cookie": cookie} if cookie else {})}

    def _kept(self, reply: Reply) -> Reply:
        for cookie in reply.cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies.pop(name, None)
            if value.strip('"'):
                self.cookies[name] = value
        return reply


def fields_of(page: Reply, action: str = "/cart/lines") -> dict[str, str]:
    """Return the hidden fields of a form of a page."""
    text = page.body.decode()
    form = re.search(rf'<form[^>]* action="{MOUNT}{action}".*?</form>', text, re.S)
    assert form, f"there is no form to {action}"
    pairs = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form[0])
    return {name: unescape(value) for name, value in pairs}


def text_of(reply: Reply) -> str:
    """Return what stands on a page, without its marks."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", reply.body.decode())))


def titles_of(reply: Reply) -> list[str]:
    """Return the titles of the products on a page."""
    found = re.findall(r'<span class="title">(.*?)</span>', reply.body.decode(), re.S)
    return [unescape(re.sub(r"<[^>]+>", "", one)) for one in found]


def link_of(reply: Reply, text: str) -> str:
    """Return where the first link with a text leads, below the shop."""
    links = re.findall(r'<a [^>]*href="([^"]+)"[^>]*>(.*?)</a>', reply.body.decode(), re.S)
    for address, inner in links:
        if text in unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", inner))):
            return unescape(address).removeprefix(MOUNT)
    raise AssertionError(f"there is no link {text!r}")


def option_of(reply: Reply, text: str) -> tuple[int, str, bool]:
    """Return the count of a value that is offered, its address, and whether it is chosen."""
    found = re.search(
        r'<a id="o-[^"]*" class="option( on)?" href="([^"]+)"[^>]*>(?:(?!</a>).)*?'
        rf'<span class="text">{re.escape(text)}</span> <span class="count">(\d+)</span>',
        reply.body.decode(), re.S,
    )  # fmt: skip
    assert found, f"{text!r} is not offered"
    return int(found[3]), unescape(found[2]).removeprefix(MOUNT), bool(found[1])
