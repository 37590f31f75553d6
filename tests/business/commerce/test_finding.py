"""Products are searched: what is on sale is found as it is now, and nothing else."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from hansa.assembly import Place
from hansa.business.commerce import api as shop
from hansa.business.commerce.finding import SCHEMA, document_of
from hansa.kernel.problems import Problem
from hansa.kernel.storage import PLATFORM, Session
from hansa.kernel.structs import Money
from hansa.platform.search import api as search
from hansa.platform.search.documents import check_document, check_schema
from hansa.platform.search.indexes import Indexes
from tests.business.commerce.market import Market, opened

LOOK_S = 30
AT = datetime(2026, 1, 1, tzinfo=UTC)


async def titles(market: Market, q: str, **more: Any) -> list[str]:
    """Return what a visitor finds."""
    body = search.SearchRequest(q, **more)
    found = await market.visit(search.search_collection, name="products", body=body)
    return [msgspec.json.decode(hit.document)["title"] for hit in found.hits]


async def until(market: Market, wanted: list[str], q: str, **more: Any) -> None:
    """Return when a visitor finds just this."""
    seen: Any = None
    try:
        async with asyncio.timeout(LOOK_S):
            while seen != wanted:
                try:
                    seen = await titles(market, q, **more)
                except Problem as problem:
                    assert problem.slug == "index-not-ready"
                await asyncio.to_thread(int)
    except TimeoutError:
        raise AssertionError(f"{seen} is not {wanted}") from None


def test_a_schema_that_can_be() -> None:
    check_schema(SCHEMA)


def test_what_is_on_sale_is_found_as_it_is_now(place: Place) -> None:
    async def run() -> None:
        async with opened(place) as market:
            form = shop.NewProduct(
                "lamp", "Ship's lantern", (shop.NewVariant("L-1", Money(900, "EUR"), stock=1),),
                attributes={"supplier": "Lübeck Brass", "colour": "brass"},
            )  # fmt: skip
            made = await market.run(shop.create_product, body=form)
            id = made.product.id
            await until(market, ["Ship's lantern"], "lanterns")
            await until(market, ["Ship's lantern"], "", filter='attributes.colour = "brass"')
            await until(market, ["Ship's lantern"], "", filter='brand = "Lübeck Brass"')
            change = shop.ProductChange(1, title="Harbour lamp")
            await market.run(shop.change_product, id=id, body=change)
            await until(market, [], "lantern", typo=False)
            await until(market, ["Harbour lamp"], "lamp", filter="price_minor < 1000")
            price = shop.VariantChange(2, price=Money(1_900, "EUR"))
            await market.run(shop.change_variant, id=made.variants[0].id, body=price)
            await until(market, ["Harbour lamp"], "lamp", filter="price_minor = 1900")
            await market.run(shop.change_product, id=id, body=shop.ProductChange(3, status="draft"))
            await until(market, [], "lamp")

    asyncio.run(run())


def test_products_that_were_there_before_search_was(place: Place) -> None:
    async def run() -> None:
        async with opened(place) as market:
            await market.product("jug")
            await until(market, ["jug"], "jug")
            await forget_search(market)
            await until(market, ["jug"], "jug")
            assert sorted(await titles(market, "")) == ["jug", "mug"]
            await forget_search(market)
            await market.product("pot")  # the first that search hears of has older ones before it
            await until(market, ["mug"], "mug")
            assert sorted(await titles(market, "")) == ["jug", "mug", "pot"]

    asyncio.run(run())


async def forget_search(market: Market) -> None:
    """Have a site as it was before there was search."""
    indexes = market.runtime.resources[Indexes]
    for one in list(indexes._opened.values()):
        await indexes._close(one)

    async def body(session: Session) -> None:
        for table in ("documents", "queries", "collections"):
            await session.run(f"DELETE FROM search_{table}", ())

    deadline = asyncio.get_running_loop().time() + LOOK_S
    await market.runtime.storage.write(body, site=PLATFORM, deadline=deadline, across=True)


def test_a_product_with_odd_attributes_is_found_by_the_rest(place: Place) -> None:
    async def run() -> None:
        async with opened(place) as market:
            odd: dict[str, Any] = {"size..eu": "39", "note.": "x", "far": 2.0**60, "colour": "red"}
            form = shop.NewProduct(
                "shoe", "Sea boots", (shop.NewVariant("B-1", Money(9, "EUR")),), attributes=odd
            )
            await market.run(shop.create_product, body=form)
            await until(market, ["Sea boots"], "boots", filter="attributes.colour = red")

    asyncio.run(run())


@pytest.mark.parametrize("letters", [0, 100, 20_000])
def test_a_document_fits_its_schema(letters: int) -> None:
    attributes: dict[str, Any] = {f"a{number}": "ß" * 250 for number in range(300)}
    attributes |= {"supplier": "x" * 300, "weight": 1.5, "is_new": True}
    made = shop.Product("prod_1", "a", "A", "ü" * letters, "active", attributes, 1, AT)
    variant = shop.Variant("var_1", "prod_1", "s", "", Money(5, "EUR"))
    document = document_of(shop.ProductWithVariants(made, (variant,)))
    assert document is not None
    check_document(document | {"id": "prod_1"}, SCHEMA)
    assert len(msgspec.json.encode(document)) < 1 << 17
    assert document_of(shop.ProductWithVariants(made, ())) is None
