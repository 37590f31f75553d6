"""While visitors search: a new schema, another collection under a name, documents that come; and no
search fails or comes back empty."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from hansa.kernel.problems import Problem
from hansa.kernel.service import Service
from hansa.platform.search import api, indexes, making, search
from hansa.platform.search.indexes import Indexes
from hansa.testing import TestCell, TestSite
from hansa.testing.cell import TestCaller
from tests.platform.search.test_keys import holder
from tests.platform.search.test_service import SCHEMA, ndjson

COUNT = 150
WIDER = api.Schema((*SCHEMA.fields, api.Field("year", "int", facet=True)), title="title")
NARROWER = api.Schema(SCHEMA.fields[:3], title="title")


@pytest.fixture
def services() -> list[Service]:
    return [search]


def ships(name: str, count: int = COUNT) -> list[dict[str, Any]]:
    return [
        {"id": f"{name}{n}", "title": f"cog number{n} of {name}", "kind": "ship", "price": n}
        for n in range(count)
    ]


class Visitors:
    """Who search without a pause, from several sides, and note what they get."""

    def __init__(self, caller: TestCaller, names: tuple[str, ...], **request: Any) -> None:
        self._caller = caller
        self._names = names
        self._body = api.SearchRequest("cog", **request)
        self._is_over = False
        self.failed: list[Problem] = []
        self.found: Counter[str] = Counter()

    async def search(self) -> int:
        """Search each name once; return the least that was found."""
        least = COUNT * 2
        for name in self._names:
            try:
                found = await self._caller.call(api.search_collection, name=name, body=self._body)
            except Problem as problem:
                self.failed.append(problem)
                continue
            least = min(least, found.found)
            self.found[name] += 1
            assert found.hits, f"{name} was empty"
        return least

    async def go_on(self) -> None:
        """Search until they are told that it is over."""
        while not self._is_over:
            await self.search()
            await asyncio.sleep(0)

    def stop(self) -> None:
        self._is_over = True


async def rebuilt(cell: TestCell, site: TestSite, name: str = "fleet") -> None:
    """Return when the index is of the collection's schema."""
    held = await cell.runtime.resources[Indexes].find(site.id, name)
    async with asyncio.timeout(60):
        while held.is_stale or held.generation != (await generation(site, name)):
            await asyncio.to_thread(int)


async def generation(site: TestSite, name: str) -> int:
    made: api.Collection = await site.call(api.get_collection, name=name)
    return made.generation


async def filled(site: TestSite, name: str, **form: Any) -> int:
    await site.call(api.put_collection, name=name, body=api.CollectionForm(SCHEMA, **form))
    taken: api.Taken = await site.call(api.put_documents, name=name, raw=ndjson(*ships(name)))
    return taken.change


async def test_no_search_fails_while_schemas_and_names_change(cell: TestCell) -> None:
    site = await cell.site()
    await site.call(api.search_collection, name="fleet", body=api.SearchRequest(
        change=await filled(site, "fleet")))  # fmt: skip
    await site.call(api.search_collection, name="other", body=api.SearchRequest(
        change=await filled(site, "other")))  # fmt: skip
    await site.call(api.put_alias, name="boats", body=api.Target("fleet"))
    visitors = Visitors(site, ("fleet", "boats"))
    going = [asyncio.create_task(visitors.go_on()) for _ in range(3)]
    for schema in (WIDER, SCHEMA):
        await site.call(api.put_collection, name="fleet", body=api.CollectionForm(schema))
        for number in range(8):
            one = {"title": "a cog that comes", "price": number}
            await site.call(api.put_document, name="fleet", id=f"new{number}", body=one)
            target = ("other", "fleet")[number % 2]
            await site.call(api.put_alias, name="boats", body=api.Target(target))
        await rebuilt(cell, site)
    visitors.stop()
    await asyncio.gather(*going)
    assert visitors.failed == []
    assert min(visitors.found.values()) > 20
    assert await visitors.search() >= COUNT


async def test_an_open_filter_of_a_new_field_shuts_nobody_out(cell: TestCell) -> None:
    """The filter is of the schema to come; the index that is searched has not its field yet."""
    site = await cell.site()
    change = await filled(site, "fleet", open_filter="")
    visitors = Visitors(site.visitor, ("fleet",), change=change)
    await visitors.search()
    going = asyncio.create_task(visitors.go_on())
    documents = [{**one, "year": 1400} for one in ships("fleet")]
    form = api.CollectionForm(WIDER, open_filter="NOT year > 1500")
    await site.call(api.put_collection, name="fleet", body=form)
    await site.call(api.put_documents, name="fleet", raw=ndjson(*documents))
    await rebuilt(cell, site)
    visitors.stop()
    await going
    assert visitors.failed == []


async def test_who_searches_by_a_field_to_come_is_told_to_come_again(
    cell: TestCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await cell.site()
    first = api.SearchRequest(change=await filled(site, "fleet"))
    await site.call(api.search_collection, name="fleet", body=first)
    free, begun = asyncio.Event(), asyncio.Event()

    async def held_up(*args: Any) -> None:
        begun.set()
        await free.wait()
        await making.renew(*args)

    monkeypatch.setattr(indexes, "renew", held_up)
    form = api.CollectionForm(WIDER)
    await site.call(api.put_collection, name="fleet", body=form)
    async with asyncio.timeout(20):
        await begun.wait()
    for wrong, slug in (
        ({"filter": "year > 1400"}, "index-not-ready"),
        ({"filter": "yaer > 1400"}, "invalid-filter"),
        ({"filter": "year > 1400", "sort": ("title",)}, "invalid-search"),
    ):
        with pytest.raises(Problem) as refused:
            body = api.SearchRequest(**wrong)  # type: ignore[arg-type]
            await site.call(api.search_collection, name="fleet", body=body)
        assert refused.value.slug == slug
    free.set()
    await rebuilt(cell, site)
    body = api.SearchRequest(filter="year > 1400")
    assert (await site.call(api.search_collection, name="fleet", body=body)).found == 0


async def test_a_rule_of_a_field_that_is_gone_or_to_come_does_nothing(cell: TestCell) -> None:
    site = await cell.site()
    change = await filled(site, "fleet", open_filter="")
    visitors = Visitors(site.visitor, ("fleet",), change=change)
    cheap = api.Rule("cheap", "always", filter="price < 10")
    await site.call(api.put_rule, name="fleet", id="cheap", body=cheap)
    async with asyncio.timeout(20):
        while await visitors.search() != 10:
            await asyncio.to_thread(int)
    form = api.CollectionForm(NARROWER, open_filter="")
    await site.call(api.put_collection, name="fleet", body=form)
    async with asyncio.timeout(20):
        while await visitors.search() != COUNT:
            await asyncio.to_thread(int)
    form = api.CollectionForm(WIDER, open_filter="")
    await site.call(api.put_collection, name="fleet", body=form)
    old = api.Rule("old", "always", boost=(api.Boost("year > 1400", 2.0),))
    await site.call(api.put_rule, name="fleet", id="old", body=old)
    await rebuilt(cell, site)
    assert await visitors.search() == 10
    assert visitors.failed == []


async def test_a_key_of_a_field_that_is_gone_is_told_so(cell: TestCell) -> None:
    """Its filter cannot be applied, so it finds nothing at all."""
    site = await cell.site()
    await filled(site, "fleet")
    cheap = await holder(cell, site, "fleet", filter="price < 10")
    visitors = Visitors(cheap, ("fleet",))
    assert await visitors.search() <= 10
    await site.call(api.put_collection, name="fleet", body=api.CollectionForm(NARROWER))
    await rebuilt(cell, site)
    await visitors.search()
    assert [problem.slug for problem in visitors.failed] == ["grant-outdated"]
