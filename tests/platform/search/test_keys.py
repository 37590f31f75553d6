"""Scoped keys, visitors and open filters: who finds what."""

from typing import Any

import msgspec
import pytest

from hansa.assembly import OPERATOR
from hansa.kernel.caller import Caller
from hansa.kernel.problems import Denied, NotFound, Problem, Unauthenticated
from hansa.kernel.service import Service
from hansa.platform.search import api, search
from hansa.platform.search.indexes import Indexes
from hansa.platform.sites.api import NewKey, create_key, revoke_key
from hansa.testing import TestCell, TestSite
from hansa.testing.cell import TestCaller
from tests.platform.search.test_service import SCHEMA, fleet


@pytest.fixture
def services() -> list[Service]:
    return [search]


async def key_of(cell: TestCell, site: TestSite, *permissions: str) -> tuple[str, TestCaller]:
    """Make a key of a site; return its id, and who holds it."""
    form = {"site": site.id, "body": NewKey("shop", permissions)}
    made = await cell.runtime.do(create_key, OPERATOR, form)
    return made.id, TestCaller(cell.runtime, await knock(cell, made.key))


async def knock(cell: TestCell, key: str) -> Caller:
    """Come in with a key, as over HTTP."""
    return await cell.runtime.authenticate(f"Bearer {key}", "", "")


async def holder(cell: TestCell, site: TestSite, *collections: str, filter: str = "") -> TestCaller:
    """Return who has a scoped key."""
    _, maker = await key_of(cell, site, "search.keys:write", "search.documents:read")
    form = api.NewScopedKey(collections, filter)
    made: api.ScopedKey = await maker.call(api.make_scoped_key, body=form)
    return TestCaller(cell.runtime, await knock(cell, made.key))


async def ids(caller: TestCaller, q: str = "", name: str = "fleet", **more: object) -> list[str]:
    found = await caller.call(
        api.search_collection,
        name=name,
        body=api.SearchRequest(q, **more),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    )
    return sorted(msgspec.json.decode(hit.document)["id"] for hit in found.hits)


async def test_a_key_finds_what_its_filter_lets_through(cell: TestCell) -> None:
    site = await cell.site()
    change = await fleet(site)
    boats = await holder(cell, site, "fleet", filter="kind = boat")
    assert await ids(boats, change=change) == ["barge"]
    assert await ids(boats, "cog") == []
    for filter in ('kind = "ship"', "kind = ship OR price > 0", "NOT kind = boat OR price > 1"):
        assert set(await ids(boats, filter=filter)) <= {"barge"}
    facets = (api.Facet("kind"),)
    found = await boats.call(
        api.search_collection, name="fleet", body=api.SearchRequest(facets=facets)
    )
    assert [(one.value, one.count) for one in found.facets[0].values] == [("boat", 1)]


async def test_a_key_is_for_its_collections_and_searches_only(cell: TestCell) -> None:
    site = await cell.site()
    await fleet(site)
    await site.call(api.put_collection, name="other", body=api.CollectionForm(SCHEMA))
    key = await holder(cell, site, "fleet")
    assert len(await ids(key)) == 3
    with pytest.raises(Denied) as refused:
        await ids(key, name="other")
    assert refused.value.slug == "collection-not-granted"
    with pytest.raises(Denied):
        await key.call(api.get_document, name="fleet", id="cog")
    with pytest.raises(Denied):
        await key.call(api.list_collections)


async def test_visitors_find_what_is_open(cell: TestCell) -> None:
    site = await cell.site()
    change = await fleet(site)
    visitor = site.visitor
    with pytest.raises(NotFound):
        await ids(visitor)
    form = api.CollectionForm(SCHEMA, open_filter="price < 1000")
    await site.call(api.put_collection, name="fleet", body=form)
    while True:
        try:
            assert await ids(visitor, change=change) == ["barge", "cog"]
            break
        except NotFound:  # this process has not yet read what is said of it now
            continue


async def test_what_is_closed_is_as_if_it_were_not_there(cell: TestCell) -> None:
    """Neither by the answer nor by an index that is made for it does a visitor learn of it."""
    site = await cell.site()
    await fleet(site)
    await site.call(api.put_alias, name="boats", body=api.Target("fleet"))
    indexes = cell.runtime.resources[Indexes]
    told: set[str] = set()
    for name in ("fleet", "boats", "none!"):
        asked: list[tuple[Any, dict[str, Any]]] = [
            (api.search_collection, {"body": api.SearchRequest("cog", change=10**9)}),
            (api.search_by_address, {"q": "cog", "filter": "kind = ship"}),
            (api.suggest, {"q": "co"}),
        ]
        for operation, more in asked:
            with pytest.raises(NotFound) as refused:
                await site.visitor.call(operation, name=name, **more)
            told.add(msgspec.json.encode(refused.value.document()).decode().replace(name, "NAME"))
    assert len(told) == 1, told
    assert indexes.peek(site.id, "fleet") is None
    other = await holder(cell, site, "fleet")
    told.clear()
    await site.call(api.put_collection, name="other", body=api.CollectionForm(SCHEMA))
    for name in ("other", "none!"):
        with pytest.raises(Denied) as denied:
            await ids(other, name=name)
        told.add(str(denied.value.document()))
    assert len(told) == 1, told


async def test_a_change_that_nothing_has_is_not_waited_for(cell: TestCell) -> None:
    site = await cell.site()
    change = await fleet(site)
    form = api.CollectionForm(SCHEMA, open_filter="")
    await site.call(api.put_collection, name="fleet", body=form)
    assert change < 90, "the number is not in the words of the problem"
    for caller in (site, site.visitor):
        assert len(await ids(caller, change=change)) == 3
        for wanted in (change + 1, 2**62):
            with pytest.raises(Problem) as refused:
                await ids(caller, change=wanted)
            assert refused.value.slug == "unknown-change"
            assert str(change) not in str(refused.value.document())


async def test_a_key_ends_with_the_one_it_was_made_with(cell: TestCell) -> None:
    site = await cell.site()
    await fleet(site)
    parent, maker = await key_of(cell, site, "search.keys:write", "search.documents:read")
    made = await maker.call(api.make_scoped_key, body=api.NewScopedKey(("fleet",)))
    assert (await knock(cell, made.key)).site == site.id
    await cell.runtime.do(revoke_key, OPERATOR, {"site": site.id, "key": parent})
    with pytest.raises(Unauthenticated):
        await knock(cell, made.key)
    for text in ("hansasearch_x.y", "hansasearch_", "hansasearch_" + "A" * 40_000):
        with pytest.raises(Unauthenticated):
            await knock(cell, text)


async def test_a_scoped_key_is_not_its_maker(cell: TestCell) -> None:
    """What its bearers ask does not count against the key of the site, nor is it remembered so."""
    site = await cell.site()
    await fleet(site)
    parent, maker = await key_of(cell, site, "search.keys:write", "search.documents:read")
    made = [
        await maker.call(api.make_scoped_key, body=api.NewScopedKey(("fleet",), expires_s=seconds))
        for seconds in (60, 61)
    ]
    names = {(await knock(cell, one.key)).principal.id for one in made}
    assert len(names) == 2 and parent not in names
    assert all(name.startswith(f"{parent}.") for name in names)


async def test_nobody_gives_what_they_do_not_have(cell: TestCell) -> None:
    site = await cell.site()
    await fleet(site)
    _, maker = await key_of(cell, site, "search.keys:write")
    with pytest.raises(Denied):
        await maker.call(api.make_scoped_key, body=api.NewScopedKey(("fleet",)))


async def test_keys_whose_filters_python_takes_for_equal(cell: TestCell) -> None:
    """True is 1 in Python, and another value of a member in the engine."""
    site = await cell.site()
    schema = api.Schema((api.Field("title", "text"), api.Field("a", "json")), title="title")
    await site.call(api.put_collection, name="fleet", body=api.CollectionForm(schema))
    await site.call(api.put_document, name="fleet", id="one", body={"a": {"x": 1}})
    put = await site.call(api.put_document, name="fleet", id="true", body={"a": {"x": True}})
    truth = await holder(cell, site, "fleet", filter="a.x = true")
    whole = await holder(cell, site, "fleet", filter="a.x = 1")
    assert await ids(whole, change=put.change) == ["one"]
    assert await ids(truth, change=put.change) == ["true"]
