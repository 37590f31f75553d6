"""Catalogue: products as they are described from outside, with all their limits. Pure types."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from hansa.kernel.ids import ID
from hansa.kernel.structs import Money, Struct

Handle = Annotated[
    str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$(?!\n)", min_length=1, max_length=120)
]
"""Python's `$` also matches before a last newline, which JSON Schema's does not."""
Title = Annotated[str, Meta(min_length=1, max_length=500)]
Sku = Annotated[str, Meta(min_length=1, max_length=120)]
Value = Annotated[str, Meta(max_length=20_000)] | float | int | bool
Attributes = Annotated[dict[Annotated[str, Meta(max_length=120)], Value], Meta(max_length=500)]
"""What a product is described by: names to texts, numbers and truth values; 500 at most."""
ATTRIBUTES_LETTERS_MAX = 100_000
"""Of all names and texts together, so that a page of a hundred products stays one to send."""
Status = Literal["active", "draft", "archived"]
VARIANTS_MAX = 2_048


def check_attributes(attributes: dict[str, Value]) -> None:
    """Raise ValueError for more text than a product may be described by."""
    letters = sum(map(len, attributes)) + sum(
        len(value) for value in attributes.values() if isinstance(value, str)
    )
    if letters > ATTRIBUTES_LETTERS_MAX:
        raise ValueError(
            f"attributes have {letters} letters together, and may have {ATTRIBUTES_LETTERS_MAX}"
        )


def check_price(price: Money | None) -> None:
    """Raise ValueError for a price below nothing."""
    if price is not None and price.minor < 0:
        raise ValueError("a price is not negative")


_NOT_NEGATIVE = Meta(extra_json_schema={"properties": {"minor": {"minimum": 0}}})


class NewVariant(Struct):
    """A form of a product that is sold at a price. `stock` is what is received with it."""

    sku: Sku
    price: Annotated[Money, _NOT_NEGATIVE]
    title: Annotated[str, Meta(max_length=500)] = ""
    stock: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0

    def __post_init__(self) -> None:
        check_price(self.price)


class NewProduct(Struct):
    """A product to be made, with the forms it is sold in."""

    handle: Handle
    title: Title
    variants: Annotated[tuple[NewVariant, ...], Meta(min_length=1, max_length=VARIANTS_MAX)]
    description: Annotated[str, Meta(max_length=20_000)] = ""
    status: Status = "active"
    attributes: Attributes = {}

    def __post_init__(self) -> None:
        check_attributes(self.attributes)


class Variant(Struct):
    """A form of a product as it is in the shop."""

    id: ID
    product_id: ID
    sku: str
    title: str
    price: Money


class Product(Struct):
    """A product as it is in the shop; `version` rises with each change."""

    id: ID
    handle: str
    title: str
    description: str
    status: Status
    attributes: dict[str, Value]
    version: int
    created_at: datetime


class ProductWithVariants(Struct):
    """A product with the forms it is sold in."""

    product: Product
    variants: tuple[Variant, ...]


class VariantChange(Struct):
    """What is to change in a variant of a product that is at `version`; what is left out stays.
    Carts that hold it are priced anew, orders are not."""

    version: int
    price: Annotated[Money, _NOT_NEGATIVE] | None = None
    title: Annotated[str, Meta(max_length=500)] | None = None

    def __post_init__(self) -> None:
        check_price(self.price)


class MoreVariants(Struct):
    """Further forms for a product that is at `version`."""

    version: int
    variants: Annotated[tuple[NewVariant, ...], Meta(min_length=1, max_length=VARIANTS_MAX)]


class ProductChange(Struct):
    """What is to change in a product of `version`; what is left out stays as it is."""

    version: int
    title: Title | None = None
    description: Annotated[str, Meta(max_length=20_000)] | None = None
    status: Status | None = None
    attributes: Attributes | None = None

    def __post_init__(self) -> None:
        check_attributes(self.attributes or {})
