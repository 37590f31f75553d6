"""How far an index is, having it made anew, and what is said of a collection, on both engines."""

import asyncio

import pytest
from msgspec.structs import replace

from hansa.assembly import Place
from hansa.kernel.problems import Problem
from hansa.platform.search import api, search
from hansa.platform.search.indexes import Indexes
from hansa.testing import TestCell, TestSite
from tests.kernel.http.client import AsgiClient

SCHEMA = api.Schema((api.Field("title", "text"), api.Field("kind", "keyword")), title="title")


@pytest.fixture
def cell(place: Place) -> TestCell:
    return TestCell(search, place=place)


async def boats(cell: TestCell) -> TestSite:
    site = await cell.site()
    await site.call(api.put_collection, "boats", api.CollectionForm(SCHEMA))
    await site.call(api.put_document, "boats", "cog", {"title": "A cog at sea", "kind": "trader"})
    return site


async def found(site: TestSite, q: str, **more: object) -> api.Found:
    request = replace(api.SearchRequest(q), **more)
    return await site.call(api.search_collection, "boats", request)


async def test_an_index_tells_how_far_it_is_and_is_made_anew(cell: TestCell) -> None:
    site = await boats(cell)
    with pytest.raises(Problem, match="no collection ships"):
        await site.call(api.get_index, "ships")
    await found(site, "cog", change=1)
    index = await site.call(api.get_index, "boats")
    assert (index.state, index.documents, index.change, index.generation) == ("current", 1, 1, 1)
    made = await site.call(api.rebuild_index, "boats")
    assert made.generation == 2
    async with asyncio.timeout(20):
        while (index := await site.call(api.get_index, "boats")).state != "current":
            assert (await found(site, "cog")).found == 1  # by the old one, then the new
            await asyncio.sleep(0)  # a quick search lets nobody else have a turn
    assert (index.generation, index.documents) == (2, 1)
    put = await site.call(api.put_document, "boats", "hulk", {"title": "A hulk at sea"})
    assert (await found(site, "sea", change=put.change)).found == 2
    assert (await site.call(api.get_collection, "boats")).schema == SCHEMA
    with pytest.raises(Problem, match="no collection ships"):
        await site.call(api.rebuild_index, "ships")
    reader = site.key("search.collections:read")
    with pytest.raises(Problem, match="permission"):
        await reader.call(api.rebuild_index, "boats")


async def test_a_rule_that_cannot_work_is_told_where(cell: TestCell) -> None:
    site = await boats(cell)
    rule = api.Rule("x", "contains", "the cog", pin=(api.Pin("a", 1), api.Pin("b", 1)))
    with pytest.raises(Problem) as refused:
        await site.call(api.put_rule, "boats", "x", rule)
    assert [one.pointer for one in refused.value.errors] == ["/pin/1/place"]
    good = api.Rule("y", q="cog", hide=("cog",))
    bad = api.Rule("z", q="cog", boost=(api.Boost("knd = trader", 2),))
    with pytest.raises(Problem) as refused:
        await site.call(api.put_curation, "boats", api.Curation(rules=(good, bad)))
    (fault,) = refused.value.errors
    assert fault.pointer == "/rules/1/boost/0/filter"
    assert "did you mean kind?" in fault.detail
    assert await site.call(api.get_curation, "boats") == api.Curation()


async def test_stop_words_are_replaced_by_themselves(cell: TestCell) -> None:
    site = await boats(cell)
    synonym = api.Synonym("ship", ("ship", "cog"))
    await site.call(api.put_synonym, "boats", "ship", synonym)
    await site.call(api.put_stop_words, "boats", api.StopWords(("sea",)))
    curation = await site.call(api.get_curation, "boats")
    assert curation == api.Curation((synonym,), ("sea",))
    with pytest.raises(Problem):
        await site.key("search.collections:read").call(
            api.put_stop_words, "boats", api.StopWords(())
        )


async def test_who_tries_something_is_no_visitor(cell: TestCell) -> None:
    site = await boats(cell)
    tried = await found(site, "cog", change=1, analytics=False)
    assert (tried.found, tried.query_id) == (1, "")
    assert (await found(site, "sea")).query_id
    await cell.runtime.resources[Indexes].write_down()
    analytics = await site.call(api.get_analytics, "boats")
    assert [one.q for one in analytics.frequent] == ["sea"]


async def test_what_changes_while_an_index_is_opened_is_not_missed(cell: TestCell) -> None:
    site = await boats(cell)  # whose first document has the index opened
    for number in range(2, 8):
        put = await site.call(api.put_document, "boats", str(number), {"title": "A boat at sea"})
        request = api.CollectionForm(SCHEMA, f"kind = b{number}")
        await site.call(api.put_collection, "boats", request)
        assert put.change == number
    assert (await found(site, "sea", change=7)).found == 7
    collection = await site.call(api.get_collection, "boats")
    async with asyncio.timeout(5):
        while (await site.call(api.get_index, "boats")).revision < collection.revision:
            pass


async def test_an_address_says_a_search_with_its_page(cell: TestCell) -> None:
    site = await boats(cell)
    put = await site.call(api.put_document, "boats", "hulk", {"title": "A hulk at sea"})
    await site.call(api.put_collection, "boats", api.CollectionForm(SCHEMA, ""))
    await found(site, "sea", change=put.change)
    client = AsgiClient(cell.cell.app)
    ids: list[str] = []
    for page in ("1", "2", "3"):
        path = f"/search/collections/boats/search?q=sea&page={page}&per_page=1"
        answer = await client.send("GET", path, headers={"hansa-site": site.id})
        assert answer.status == 200, answer.body
        assert answer.json()["page"] == int(page)
        ids += [hit["document"]["id"] for hit in answer.json()["hits"]]
    assert sorted(ids) == ["cog", "hulk"]
