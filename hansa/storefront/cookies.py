"""Cookies: what a browser keeps for its visitor: the cart, and by which search things got into it.

What must never happen: text of a cookie that is used as anything but what it must look like.
"""

import re
from typing import Final

from hansa.kernel.structs import Struct

CART: Final = "hansa_cart"
ORDER: Final = "hansa_order"
"""The cart that was bought last, to show its order."""
FOUND: Final = "hansa_found"
KEPT_S: Final = 30 * 86_400
"""As long as the shop keeps a cart that nobody touches."""
ORDER_S: Final = 3_600
FOUND_S: Final = 86_400
"""As long as search knows the query."""
FINDS_MAX: Final = 5
_CART: Final = re.compile(r"(cart_[0-9a-z]{10,40})(?:\.(\d{1,5}))?", re.ASCII)
_FIND: Final = re.compile(r"([A-Za-z0-9_-]{1,120})\.(\d{1,3})\.([A-Za-z0-9_-]{1,512})", re.ASCII)


class Basket(Struct):
    """A cart's id and how many things are in it."""

    cart: str = ""
    pieces: int = 0

    @property
    def text(self) -> str:
        """What the cookie has."""
        return f"{self.cart}.{self.pieces}"


class Find(Struct):
    """A product that a search has led to: which search, and at which place it stood."""

    product: str
    place: int
    query_id: str

    @property
    def text(self) -> str:
        """What the cookie has of it."""
        return f"{self.product}.{self.place}.{self.query_id}"


def read_basket(text: str) -> Basket:
    """Return the cart of a cookie, none for anything else."""
    match = _CART.fullmatch(text)
    return Basket(match[1], int(match[2] or 0)) if match else Basket()


def read_finds(text: str) -> tuple[Find, ...]:
    """Return the finds of a cookie, or of one that a page's address has."""
    matches = [_FIND.fullmatch(part) for part in text.split("~")[:FINDS_MAX]]
    finds = [Find(one[1], int(one[2]), one[3]) for one in matches if one]
    return tuple(one for one in finds if one.place >= 1)


def with_find(finds: tuple[Find, ...], find: Find) -> str:
    """Return the cookie with one more find, and the oldest left out where they are too many."""
    others = [one for one in finds if one.product != find.product]
    return "~".join(one.text for one in (find, *others)[:FINDS_MAX])
