"""Bounds: what one visitor may ask for, by the request and by the rate."""

import msgspec
import pytest

from hansa.kernel.service import Service
from hansa.platform.search import api, search
from hansa.testing import TestCell
from tests.platform.search.visitors import harbour


@pytest.fixture
def services() -> list[Service]:
    return [search]


async def test_what_visitors_ask_counts_by_address_and_by_the_search(cell: TestCell) -> None:
    port = await harbour(cell, reads={"per_s": 0.01, "burst": 7})
    one, several = "/search/collections/fleet/search", "/search/multi"
    four = {"searches": [{"collection": "fleet", "q": "cog"}] * 4}
    assert (await port.ask("192.0.2.1", one, {"q": "cog"})).status == 200
    assert (await port.ask("192.0.2.1", several, four)).status == 200  # 5 of 7
    refused = await port.ask("192.0.2.1", several, four)
    assert (refused.status, refused.json()["violated-policies"]) == (429, ["address"])
    assert (await port.ask("192.0.2.1", f"{one}?q=cog")).status == 200  # that cost nothing
    told = await port.ask("192.0.2.1", "/search/collections/fleet/suggestions?q=co")
    assert told.headers["ratelimit"].startswith('"address";r=0')
    assert (await port.ask("192.0.2.1", one, {"q": "cog"})).status == 429
    assert (await port.ask("192.0.2.2", several, four)).status == 200


async def test_facets_and_a_filter_that_are_too_much_for_a_visitor(cell: TestCell) -> None:
    port = await harbour(cell)
    path = "/search/collections/fleet/search"
    kinds = ", ".join(f"k{number}" for number in range(150))
    facets = [{"field": "kind"}, {"field": "price"}] * 16
    asked = {"filter": f"kind IN [{kinds}] AND price > 1", "facets": facets}
    assert (await port.ask("192.0.2.1", path, asked)).status == 200
    asked["filter"] = f"kind IN [{kinds}] AND price IN [{', '.join(map(str, range(500)))}]"
    for body in (asked, {"searches": [{"collection": "fleet", **asked}]}):
        where = path if body is asked else "/search/multi"
        assert (await port.ask("192.0.2.1", where, body)).slug == "too-much-to-count"
    found = await port.site.call(
        api.search_collection, name="fleet", body=msgspec.convert(asked, api.SearchRequest)
    )
    assert found.found == 0
