"""Answers: what these pages read of the API's answers. What they do not know they pass over, so
that a newer release may tell more."""

from datetime import datetime
from typing import Any

import msgspec


class Money(msgspec.Struct, frozen=True):
    """An amount in minor units."""

    minor: int
    currency: str


# ---- search


class Document(msgspec.Struct, frozen=True):
    """A product as search has it."""

    id: str
    title: str
    handle: str
    price_minor: int
    currency: str
    description: str = ""
    brand: str = ""
    image: str = ""
    attributes: dict[str, Any] = {}


class Hit(msgspec.Struct, frozen=True):
    """A product that was found."""

    document: Document
    highlights: dict[str, str] = {}


class Count(msgspec.Struct, frozen=True):
    """How many have a value."""

    value: str | int | float | bool
    count: int


class FacetCounts(msgspec.Struct, frozen=True):
    """The counts of a field."""

    field: str
    values: tuple[Count, ...]


class Found(msgspec.Struct, frozen=True):
    """What a search found."""

    found: int
    hits: tuple[Hit, ...]
    facets: tuple[FacetCounts, ...] = ()
    query_id: str = ""
    corrected: dict[str, tuple[str, ...]] = {}


class Suggestions(msgspec.Struct, frozen=True):
    """What a beginning may become."""

    suggestions: tuple[str, ...]


# ---- commerce


class Product(msgspec.Struct, frozen=True):
    """A product."""

    id: str
    handle: str
    title: str
    description: str = ""
    attributes: dict[str, Any] = {}


class Variant(msgspec.Struct, frozen=True):
    """A form of a product."""

    id: str
    sku: str
    title: str
    price: Money


class Whole(msgspec.Struct, frozen=True):
    """A product with its forms."""

    product: Product
    variants: tuple[Variant, ...]


class Availability(msgspec.Struct, frozen=True):
    """Whether a form can be bought: ``in_stock``, ``low`` or ``out``."""

    state: str


class Line(msgspec.Struct, frozen=True):
    """A line of a cart."""

    variant_id: str
    quantity: int


class PricedLine(msgspec.Struct, frozen=True):
    """A line at its price."""

    variant_id: str
    product_id: str
    sku: str
    title: str
    quantity: int
    unit_minor: int
    amount_minor: int


class Priced(msgspec.Struct, frozen=True):
    """Lines with their sums."""

    currency: str
    lines: tuple[PricedLine, ...]
    net_minor: int
    tax_minor: int
    total_minor: int


class Cart(msgspec.Struct, frozen=True):
    """A cart."""

    id: str
    version: int
    state: str
    email: str
    priced: Priced
    gone: tuple[Line, ...] = ()

    @property
    def pieces(self) -> int:
        """How many things are in it."""
        return sum(line.quantity for line in self.priced.lines)


class Order(msgspec.Struct, frozen=True):
    """What was bought."""

    number: int
    email: str
    priced: Priced
    created_at: datetime
