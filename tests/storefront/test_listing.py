"""The list: found, refined, sorted and paged over plain HTTP; and what no page may do."""

import re

import pytest

from hansa.assembly import SERVICES
from hansa.testing.cell import TestCell
from tests.storefront.shopper import (
    MUGS,
    Shopper,
    link_of,
    option_of,
    product,
    shop_at,
    text_of,
    titles_of,
)


@pytest.fixture
def cell() -> TestCell:
    """One engine is enough: a page keeps nothing."""
    return TestCell(*SERVICES)


async def test_everything_is_there_at_its_price(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    page = await shopper.get("/")
    assert page.status == 200
    assert sorted(titles_of(page)) == sorted(one.title for one in MUGS)
    assert "€15.00" in text_of(page)
    assert len(page.body) < 60_000
    assert (await shopper.get("")).body == page.body


async def test_a_typo_is_forgiven_and_told(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    page = await shopper.get("/?q=ketle")
    assert titles_of(page) == ["Enamel kettle"]
    assert "Showing results for kettle." in text_of(page)
    assert "Enamel <mark>kettle</mark>" in page.body.decode()
    exact = await shopper.get(link_of(page, "Search for “ketle” instead"))
    assert "Nothing found" in text_of(exact)
    assert titles_of(await shopper.get(link_of(exact, "Search for similar words too"))) == [
        "Enamel kettle"
    ]


async def test_a_facet_ignores_its_own_selection(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    page = await shopper.get("/")
    assert option_of(page, "Kitchen")[0] == 4
    page = await shopper.get(option_of(page, "Kitchen")[1])
    assert option_of(page, "Kitchen")[::2] == (4, True)
    assert option_of(page, "Home")[0] == 2
    assert option_of(page, "Fehn")[0] == 1
    page = await shopper.get(option_of(page, "Fehn")[1])
    assert titles_of(page) == ["Oak board"]
    assert option_of(page, "Kogge")[0] == 3
    page = await shopper.get(link_of(page, "Remove Kitchen"))
    assert sorted(titles_of(page)) == ["Clay vase", "Oak board", "Paper lamp"]
    assert len(titles_of(await shopper.get(link_of(page, "Clear all")))) == len(MUGS)


async def test_ranges_of_prices_and_orders(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    page = await shopper.get("/?sort=price")
    assert titles_of(page)[0] == "Blue mug"
    count, address, _ = option_of(page, "€10 – €25")
    assert count == 2
    cheap = await shopper.get(address)
    assert titles_of(cheap) == ["Blue mug", "Red mug"]
    assert option_of(cheap, "€25 – €50")[0] == 3
    assert titles_of(await shopper.get(link_of(cheap, "Price, high first")))[0] == "Red mug"
    both = await shopper.get(option_of(cheap, "€25 – €50")[1])
    assert len(titles_of(both)) == 5


async def test_pages(cell: TestCell) -> None:
    many = [product(f"cup-{n}", f"Cup {n}", 100 * n, brand="Kogge") for n in range(1, 60)]
    shopper = await shop_at(cell, many)
    page = await shopper.get("/?sort=price")
    assert len(titles_of(page)) == 24
    second = await shopper.get(link_of(page, "Next"))
    assert titles_of(second)[0] == "Cup 25"
    last = await shopper.get(link_of(second, "Next"))
    assert len(titles_of(last)) == 59 - 48
    assert titles_of(await shopper.get(link_of(last, "Page 1"))) == titles_of(page)
    assert len(page.body) < 60_000
    beyond = await shopper.get("/?page=40")
    assert beyond.status == 200
    assert titles_of(await shopper.get(link_of(beyond, "Go to the first")))


async def test_the_part_that_changes_is_the_same_as_on_the_page(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    whole = (await shopper.get("/?q=mu&brand=Kogge")).body.decode()
    part = (await shopper.get("/results?q=mu&brand=Kogge")).body.decode()
    assert "<html" not in part
    hidden = re.compile(r"query_id|from=[^&\"]+")
    assert hidden.sub("", part.strip()) in hidden.sub("", whole)


async def test_a_page_takes_one_search(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    for address in ("/", "/?a.group=Kitchen", "/?brand=Fehn&sort=price"):
        shopper.asked.clear()
        await shopper.get(address)
        assert shopper.asked == ["POST /search/collections/products/search"], address


async def test_attributes_that_were_never_seen_are_offered_at_once(cell: TestCell) -> None:
    odd = [
        product(f"cup-{n}", f"Cup {n}", 100 * n, glaze="Ash" if n % 2 else "Salt")
        for n in range(1, 5)
    ]
    shopper = await shop_at(cell, [*MUGS, *odd])
    fresh = Shopper(cell, shopper.site)  # another process, which has seen nothing
    page = await fresh.get("/?q=cup")
    assert option_of(page, "Ash")[0] == 2
    fresh.asked.clear()
    await fresh.get("/?q=cup")
    assert sum(one.endswith("/search") for one in fresh.asked) == 1


async def test_nothing_found_has_a_way_out(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    page = await shopper.get("/?q=qqqqzzzz&brand=Fehn")
    assert page.status == 200
    assert "There is nothing here by that name with what is chosen." in text_of(page)
    assert len(titles_of(page)) == 4
    assert link_of(page, "Search everything for “qqqqzzzz”") == "/?q=qqqqzzzz"
    assert len(titles_of(await shopper.get(link_of(page, "See everything in the shop")))) == 6
    page = await shopper.get("/?brand=Fehn&a.material=Steel")
    assert "Nothing has all of what is chosen." in text_of(page)


async def test_a_shop_without_a_product_says_so(cell: TestCell) -> None:
    shopper = await shop_at(cell, ())
    seen: list[str] = []

    async def is_open() -> bool:
        seen.append(text_of(await shopper.get("/")))
        return "Nothing is on sale here yet." in seen[-1]

    await cell.until(is_open)


async def test_text_of_a_stranger_is_text(cell: TestCell) -> None:
    evil = '<script>alert("mug")</script>'
    shopper = await shop_at(
        cell,
        [
            product("a", evil, 100, brand=evil, group=evil, image="javascript:alert(1)"),
            product("b", "Plain mug", 200, brand="B", group="B", image="https://a.example/b.png"),
            product("c", "Pictured mug", 300, brand="B", group="B", image="/files/site/blob"),
        ],
    )
    for address in ("/", "/?q=mug", f"/?q={evil}", f"/?brand={evil}&a.{evil}={evil}", "/products/a",
                    f"/results?q={evil}", f"/nothing/{evil}"):  # fmt: skip
        text = (await shopper.get(address.replace(" ", "%20"))).body.decode()
        assert "alert(" not in text or "<script>alert" not in text, address
        assert "javascript:" not in text
        assert "a.example" not in text
        assert "<mark>&lt;" not in text
    assert 'src="/files/site/blob"' in (await shopper.get("/")).body.decode()


async def test_an_address_that_means_nothing_is_no_failure(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    for query in ("page=x&sort=?", "a.%5C=c", "a.x.y=1", "a.=1", "price=9-1", "brand=%00", "q=%ff",
                  "q=" + "x" * 3_000, "a." + "n" * 300 + "=1", "q=%22%20OR%20%5B", "q=AND&exact=1",
                  "&".join(f"a.n{n}=v" for n in range(90))):  # fmt: skip
        page = await shopper.get(f"/?{query}")
        assert page.status == 200, (query, text_of(page))


async def test_more_than_search_takes_is_cut(cell: TestCell) -> None:
    """By hand, or by a robot that follows every link: long filters, and facets without end."""
    shopper = await shop_at(cell)
    await shopper.get("/")  # some attributes are remembered now
    long = "&".join(f"a.x{number:0>110}={'v' * 199}{number % 9}" for number in range(40))
    many = "&".join(f"a.n{number}={value}" for number in range(40) for value in range(40))
    one = "&".join(f"brand={number}" for number in range(400))
    for query in (long, many, one, f"{long}&{many}"):
        page = await shopper.get(f"/?{query}"[:8_000])
        assert page.status == 200, text_of(page)
        assert "Remove" in page.body.decode()
    found = await shopper.get("/?" + "&".join(f"a.n{number}=1" for number in range(15)))
    assert found.status == 200


async def test_each_host_is_one_shop(cell: TestCell) -> None:
    here = await shop_at(cell)
    there = await shop_at(cell, [product("yen", "Tin mug", 1_200, "JPY")], "other.test", "JPY")
    assert titles_of(await there.get("/?q=mug")) == ["Tin mug"]
    assert "¥1,200" in text_of(await there.get("/"))
    assert "Tin mug" not in titles_of(await here.get("/?q=mug"))
    assert (await there.get("/products/blue-mug")).status == 404
    nowhere = Shopper(cell, here.site, "127.0.0.1:8400")
    for address in ("/", "/cart", "/products/blue-mug", "/nothing"):
        page = await nowhere.get(address)
        assert page.status == 404
        assert "No shop is at this address" in text_of(page)
        assert 'role="search"' not in page.body.decode()


async def test_what_each_answer_carries(cell: TestCell) -> None:
    shopper = await shop_at(cell)
    for address in ("/", "/results", "/products/blue-mug", "/cart", "/nothing", "/static/shop.js"):
        page = await shopper.get(address)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
    text = (await shopper.get("/")).body.decode()
    assert not re.search(r"\son\w+=|<style|style=|<script>|https?://", text)
    file = re.search(r'href="/shop(/static/shop.css\?v=\w+)"', text)
    assert file
    sheet = await shopper.get(file[1])
    assert "immutable" in sheet.headers["cache-control"]
    assert "url(" not in sheet.body.decode()
    assert (await shopper.get("/static/../door.py")).status == 404
