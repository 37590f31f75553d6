"""Product: the page of one product, and what is told when a search has led to it."""

import logging
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.background import BackgroundTask
from starlette.responses import Response

from hansa.business.commerce.finding import BRANDS, IMAGES, SUMMARIES
from hansa.kernel.http.origin import is_from_here
from hansa.kernel.problems import NotFound, Problem
from hansa.storefront.answers import Availability, Variant, Whole
from hansa.storefront.choices import KINDS
from hansa.storefront.cookies import Find, read_finds
from hansa.storefront.visit import Visit

logger = logging.getLogger("hansa.storefront")

LOOKED_AT_MAX: Final = 12
"""Forms whose stock is asked for; of a product with more it is told when one is bought."""
_ELSEWHERE: Final = frozenset({*BRANDS, *IMAGES, *SUMMARIES})


async def show_product(visit: Visit) -> Response:
    """The page of a product, by its handle."""
    handle = visit.place("handle")
    try:
        whole = await visit.asking.get(f"/commerce/products/{quote(handle)}", Whole)
    except NotFound:
        raise NotFound(
            "This product is not on sale, or its address is not right.",
            title="There is no such product",
        ) from None
    product = whole.product
    states = await _states(visit, whole.variants)
    find = found_by(f"{product.id}.{visit.asked('place')}.{visit.asked('from')}")
    response = visit.page(
        "product.html",
        product=product,
        brand=_first(product.attributes, BRANDS),
        image=_first(product.attributes, IMAGES),
        description=product.description or _first(product.attributes, SUMMARIES),
        kind=next(((name, str(product.attributes[name])) for name in KINDS
                   if product.attributes.get(name)), None),
        attributes=[(name, value) for name, value in product.attributes.items()
                    if name not in _ELSEWHERE and len(str(value)) <= 200][:40],
        variants=[(one, states.get(one.id, "")) for one in whole.variants],
        first=next((one.id for one in whole.variants if states.get(one.id) != "out"), ""),
        find=find,
        address_of=_address_of,
    )  # fmt: skip
    # A picture on another's page that has this address is no click of who looks at it.
    if find is not None and is_from_here(visit.request.headers):
        response.background = BackgroundTask(tell_use, visit, "click", find)
    return response


def found_by(text: str) -> Find | None:
    """Return by which search a product was found, None where the text does not say."""
    finds = read_finds(text)
    return finds[0] if finds else None


async def tell_use(visit: Visit, kind: str, find: Find) -> None:
    """Tell search that what it found was of use. That it cannot be told is no matter: the search
    may be of yesterday."""
    use = {
        "query_id": find.query_id, "type": kind, "id": find.product, "place": find.place,
        "visitor": visit.name,
    }  # fmt: skip
    try:
        await visit.asking.tell("/search/events", use)
    except Problem as problem:
        logger.debug("a %s was not noted: %s", kind, problem)


async def _states(visit: Visit, variants: Sequence[Variant]) -> dict[str, str]:
    """Return of each form whether it can be bought."""
    states: dict[str, str] = {}
    for one in variants if len(variants) <= LOOKED_AT_MAX else ():
        path = f"/commerce/variants/{quote(one.id)}/availability"
        states[one.id] = (await visit.asking.get(path, Availability)).state
    return states


def _first(attributes: dict[str, Any], names: Sequence[str]) -> str:
    return next((str(attributes[name]) for name in names if attributes.get(name)), "")


def _address_of(name: str, value: str) -> str:
    """Return the address of all products with a value of an attribute, or of a brand."""
    parameter = "brand" if name in BRANDS else f"a.{name}"
    return "/?" + urlencode({parameter: value})
