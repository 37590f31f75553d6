"""Search as a service: collections, documents and searches on both engines, and what happens when
processes end, schemas change and names are given to others."""

import asyncio
import shutil
from typing import Any

import msgspec
import pytest

from hansa.assembly import Place
from hansa.kernel.problems import Problem
from hansa.kernel.storage import PLATFORM, Session
from hansa.kernel.structs import RawBody
from hansa.platform.search import api, search
from hansa.platform.search.indexes import Indexes
from hansa.testing import TestCell, TestSite
from tests.kernel.http.client import AsgiClient

SCHEMA = api.Schema(
    (
        api.Field("title", "text", weight=3),
        api.Field("body", "text"),
        api.Field("kind", "keyword", facet=True),
        api.Field("price", "int", facet=True, sort=True),
    ),
    title="title",
)
BOATS = [
    {"id": "cog", "title": "A cog under sail", "kind": "ship", "price": 900},
    {"id": "hulk", "title": "A hulk at anchor", "kind": "ship", "price": 1500},
    {"id": "barge", "title": "Barges on a canal", "kind": "boat", "price": 300},
]


def ndjson(*documents: Any) -> RawBody:
    return RawBody(b"\n".join(msgspec.json.encode(one) for one in documents), {})


async def fleet(site: TestSite) -> int:
    """Make a collection with some boats; return the number of its last change."""
    await site.call(api.put_collection, name="fleet", body=api.CollectionForm(SCHEMA))
    taken: api.Taken = await site.call(api.put_documents, name="fleet", raw=ndjson(*BOATS))
    assert (taken.taken, taken.refused) == (3, ())
    return taken.change


async def ids(site: TestSite, q: str = "", **more: Any) -> list[str]:
    """Search, and return the ids of what was found."""
    await asyncio.sleep(0)  # a quick search lets nobody else have a turn
    name = more.pop("name", "fleet")
    found: api.Found = await site.call(
        api.search_collection, name=name, body=api.SearchRequest(q, **more)
    )
    return [msgspec.json.decode(hit.document)["id"] for hit in found.hits]


@pytest.fixture
def cell(place: Place) -> TestCell:
    return TestCell(search, place=place)


async def test_what_is_put_is_found_and_what_is_deleted_is_not(cell: TestCell) -> None:
    site = await cell.site()
    change = await fleet(site)
    assert await ids(site, "sailing cogs", change=change) == ["cog"]
    assert sorted(await ids(site, filter="kind = ship AND price > 800")) == ["cog", "hulk"]
    put: api.Written = await site.call(
        api.put_document, name="fleet", id="cog", body={"title": "A rowing boat", "price": 1}
    )
    assert await ids(site, "sail", change=put.change) == []
    gone: api.Deleted = await site.call(api.delete_document, name="fleet", id="cog")
    assert await ids(site, "rowing", change=gone.change) == []
    assert await ids(site, "", sort=("price",), change=gone.change) == ["barge", "hulk"]


def test_an_index_that_is_lost_is_made_again(place: Place) -> None:
    async def run() -> None:
        async with TestCell(search, place=place) as cell:
            site = await cell.site()
            change = await fleet(site)
            assert await ids(site, "anchor", change=change) == ["hulk"]
            folder = cell.runtime.resources[Indexes].folder
        assert any(folder.rglob("meta.json"))
        shutil.rmtree(folder)
        async with TestCell(search, place=place) as cell:
            assert await ids(TestSite(cell, site.id), "anchor") == ["hulk"]

    asyncio.run(run())


async def test_sites_do_not_see_each_other(cell: TestCell) -> None:
    one, other = await cell.site("one"), await cell.site("other")
    change = await fleet(one)
    assert await ids(one, "cog", change=change) == ["cog"]
    with pytest.raises(Problem) as refused:
        await ids(other, "cog")
    assert refused.value.slug == "unknown-collection"


async def test_a_new_schema_is_searched_without_a_gap(cell: TestCell) -> None:
    site = await cell.site()
    change = await fleet(site)
    wider = api.Schema((*SCHEMA.fields, api.Field("year", "int", facet=True)), title="title")
    await ids(site, "", change=change)
    await site.call(api.put_collection, name="fleet", body=api.CollectionForm(wider))
    async with asyncio.timeout(20):
        while True:
            assert len(await ids(site, "a", typo=False)) >= 2  # by the old one, then the new
            try:
                assert await ids(site, "", filter="year > 1400") == []
                break
            except Problem as problem:
                # Refused until this process has heard of the schema, then told to come again.
                assert problem.slug in ("invalid-filter", "index-not-ready")
    put = await site.call(
        api.put_document, name="fleet", id="kraweel", body={"title": "Carvel", "year": 1462}
    )
    assert await ids(site, "", filter="year > 1400", change=put.change) == ["kraweel"]


async def test_a_name_is_given_to_another_collection(cell: TestCell) -> None:
    site = await cell.site()
    await fleet(site)
    await site.call(api.put_collection, name="fleet2", body=api.CollectionForm(SCHEMA))
    put = await site.call(api.put_document, name="fleet2", id="x", body={"title": "cog"})
    await site.call(api.put_alias, name="boats", body=api.Target("fleet"))
    assert await ids(site, "cog", name="boats") == ["cog"]
    await site.call(api.put_alias, name="boats", body=api.Target("fleet2"))
    async with asyncio.timeout(20):
        while await ids(site, "cog", name="boats") != ["x"]:
            await asyncio.to_thread(int)
    assert put.change == 1


async def test_what_is_written_at_once_by_a_name_and_an_alias_is_all_there(cell: TestCell) -> None:
    site = await cell.site()
    await fleet(site)
    await site.call(api.put_alias, name="boats", body=api.Target("fleet"))
    puts = [
        site.call(api.put_document, name=name, id=f"{name}{number}", body={"title": "raft"})
        for number in range(5)
        for name in ("fleet", "boats")
    ]
    written = await asyncio.gather(*puts)
    changes = sorted(one.change for one in written)
    assert changes == list(range(4, 14))
    assert len(await ids(site, "raft", change=changes[-1])) == 10


async def test_lines_that_do_not_fit_are_told_and_the_others_are_kept(cell: TestCell) -> None:
    site = await cell.site()
    await site.call(api.put_collection, name="fleet", body=api.CollectionForm(SCHEMA))
    raw = RawBody(b'{"id":"a","title":"one"}\n{"id":"b","price":"dear"}\n{"id":\n', {})
    taken: api.Taken = await site.call(api.put_documents, name="fleet", raw=raw)
    assert taken.taken == 1
    assert [one.line for one in taken.refused] == [2, 3]
    assert await ids(site, "one", change=taken.change) == ["a"]


async def test_what_changes_while_an_index_is_opened_is_in_it(cell: TestCell) -> None:
    """The log tells of changes when the index has read how far it is, and is not yet known."""
    site = await cell.site()
    form = api.CollectionForm(SCHEMA)
    for number in range(12):
        name = f"fleet{number}"
        await site.call(api.put_collection, name=name, body=form)

        async def put(name: str) -> None:
            for boat in BOATS:
                await site.call(api.put_documents, name=name, raw=ndjson(boat))

        await asyncio.gather(put(name), ids(site, name=name))

        async def all_found(name: str) -> bool:
            return len(await ids(site, name=name)) == len(BOATS)

        await cell.until(lambda name=name: all_found(name))  # type: ignore[misc]


async def test_a_search_by_its_address_has_pages(cell: TestCell) -> None:
    site = await cell.site()
    await site.call(
        api.put_collection, name="fleet", body=api.CollectionForm(SCHEMA, open_filter="")
    )
    await site.call(api.put_documents, name="fleet", raw=ndjson(*BOATS))
    client = AsgiClient(cell.cell.app)

    async def found(query: str) -> list[str]:
        path = f"/search/collections/fleet/search?sort=price&per_page=2{query}"
        reply = await client.send("GET", path, headers={"hansa-site": site.id})
        assert reply.status == 200, reply.body
        return [hit["document"]["id"] for hit in reply.json()["hits"]]

    async def all_found() -> bool:
        return await found("") == ["barge", "cog"]

    await cell.until(all_found)
    assert await found("&page=1") == ["barge", "cog"]
    assert await found("&page=2") == ["hulk"]


async def test_documents_that_a_new_schema_does_not_fit_are_found_by_the_rest(
    cell: TestCell,
) -> None:
    site = await cell.site()
    await fleet(site)
    fields = (api.Field("title", "text"), api.Field("body", "text"), api.Field("kind", "int"),
              api.Field("price", "int", facet=True))  # fmt: skip
    form = api.CollectionForm(api.Schema(fields, title="title"))
    await site.call(api.put_collection, name="fleet", body=form)
    async with asyncio.timeout(20):
        while True:
            try:
                assert await ids(site, "anchor", filter="kind = 3 OR price > 0") == ["hulk"]
                break
            except Problem as problem:
                assert problem.slug in ("invalid-filter", "index-not-ready")


def test_rows_that_were_restored_are_not_searched_by_a_later_index(place: Place) -> None:
    async def run() -> None:
        async with TestCell(search, place=place) as cell:
            site = await cell.site()
            change = await fleet(site)
            assert await ids(site, "anchor", change=change) == ["hulk"]

            async def body(session: Session) -> None:
                await session.run("UPDATE search_collections SET last_change = 2", ())
                await session.run("DELETE FROM search_documents WHERE change > 2", ())

            deadline = asyncio.get_running_loop().time() + 10
            storage = cell.runtime.storage
            await storage.write(body, site=PLATFORM, deadline=deadline, across=True)
        async with TestCell(search, place=place) as cell:
            assert sorted(await ids(TestSite(cell, site.id))) == ["cog", "hulk"]

    asyncio.run(run())
