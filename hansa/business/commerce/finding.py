"""Finding: a product as the document by which it is searched. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from hansa.business.commerce.catalogue import ProductWithVariants, Value
from hansa.platform.search.api import Field, Schema

DESCRIPTION_LETTERS_MAX: Final = 5_000
VALUE_LETTERS_MAX: Final = 200
"""A longer attribute is prose that nobody chooses by; it is left out."""
ATTRIBUTES_MAX: Final = 200
BRANDS: Final = ("brand", "supplier", "vendor", "manufacturer")
IMAGES: Final = ("image", "img_500x500", "img_high")
SUMMARIES: Final = ("summary", "short_description")
_OWN: Final = frozenset({*BRANDS, *IMAGES, *SUMMARIES, "ean", "date_released"})

SCHEMA: Final = Schema(
    (
        Field("title", "text", weight=3),
        Field("description", "text", weight=2),
        Field("brand", "keyword", weight=1, facet=True),
        Field("skus", "keyword", weight=1),
        Field("price_minor", "int", facet=True, sort=True),
        Field("currency", "keyword"),
        Field("attributes", "json", weight=1, facet=True),
        Field("created_at", "date", sort=True),
        Field("handle", "stored"),
        Field("image", "stored"),
    ),
    title="title",
)


def document_of(whole: ProductWithVariants) -> dict[str, Any] | None:
    """Return the document of a product, None for one that is not on sale. Its price is that of its
    cheapest form."""
    product, variants = whole.product, whole.variants
    if product.status != "active" or not variants:
        return None
    price = min((one.price for one in variants), key=lambda price: price.minor)
    document: dict[str, Any] = {
        "title": product.title,
        "description": _text(product.description or _first(product.attributes, SUMMARIES)),
        "skus": [one.sku for one in variants[:50]],
        "price_minor": price.minor,
        "currency": price.currency,
        "attributes": _attributes(product.attributes),
        "created_at": product.created_at.isoformat(),
        "handle": product.handle,
    }
    for name, known in (("brand", BRANDS), ("image", IMAGES)):
        if found := _first(product.attributes, known):
            document[name] = found[:VALUE_LETTERS_MAX]
    return document


def _first(attributes: dict[str, Value], names: Sequence[str]) -> str:
    return next((str(attributes[name]) for name in names if attributes.get(name)), "")


def _text(text: str) -> str:
    return text[:DESCRIPTION_LETTERS_MAX]


def _attributes(attributes: dict[str, Value]) -> dict[str, Value]:
    kept = (
        (name, value)
        for name, value in attributes.items()
        if name not in _OWN and len(str(value)) <= VALUE_LETTERS_MAX
    )
    return dict(list(kept)[:ATTRIBUTES_MAX])
