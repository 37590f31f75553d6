"""The pages of searches: a query tried, explained and put right, on both engines and where search
runs in another process; and the box that finds everything."""

import asyncio
import os
import re
from dataclasses import dataclass
from html import unescape

import msgspec
import pytest

from hansa.assembly import OPERATOR, SERVICES
from hansa.console import MOUNT
from hansa.console.finder import Finder
from hansa.kernel.structs import RawBody
from hansa.platform.search import api
from hansa.platform.sites.api import NewSite, create_site
from hansa.testing import SplitCell, TestCell, TestSite
from tests.console.quay import quay
from tests.console.visitor import Visitor, engineer, text_of

SCHEMA = api.Schema(
    (
        api.Field("title", "text", weight=3),
        api.Field("kind", "keyword", facet=True),
        api.Field("tons", "int", facet=True, sort=True),
    ),
    title="title",
)
SHIPS = (
    {"id": "cog", "title": "A carrack under sail", "kind": "trader", "tons": 90},
    {"id": "hulk", "title": "A hulk that lies there with no sail", "kind": "trader", "tons": 300},
    {"id": "barge", "title": "A barge", "kind": "river boat", "tons": 30},
)


@dataclass
class Pages:
    """The pages of a collection of ships, and who looks at them."""

    cell: TestCell
    site: TestSite
    visitor: Visitor

    @property
    def path(self) -> str:
        return f"/search/{self.site.id}/ships"

    async def see(self, more: str = "") -> str:
        reply = await self.visitor.get(self.path + more)
        assert reply.status == 200, text_of(reply)
        return reply.body.decode()

    async def titles(self, more: str) -> list[str]:
        """Return the ids of the hits in their order."""
        page = await self.see(more)
        return re.findall(r'<code class="faint">(\w+)</code>', page)

    async def send(self, path: str, **fields: str) -> tuple[int, str]:
        reply = await self.visitor.submit(f"{self.path}/rules", self.path + path, **fields)
        return reply.status, text_of(reply)


async def pages(cell: TestCell, *permissions: str) -> Pages:
    made = await cell.runtime.do(create_site, OPERATOR, {"body": NewSite("Quay <b>")})
    site = TestSite(cell, made.id)
    await site.call(api.put_collection, "ships", api.CollectionForm(SCHEMA, ""))
    lines = b"\n".join(msgspec.json.encode(one) for one in SHIPS)
    taken = await site.call(api.put_documents, "ships", RawBody(lines, {}))
    search = api.SearchRequest(change=taken.change)
    await site.call(api.search_collection, "ships", search)
    return Pages(cell, site, await engineer(cell, *permissions))


async def test_a_query_is_tried_and_explained(cell: TestCell) -> None:
    here = await pages(cell)
    page = await here.see("?q=sail+carack")
    assert re.search(r"<b>\w+", page)
    assert "<q>carack</q> taken for carrack" in page
    assert "A <mark>carrack</mark> under <mark>sail</mark>" in page
    assert "It has all words." in page
    assert re.findall(r"<dt><code>(\w+)</code></dt><dd><svg", page)[:2] == ["carack", "sail"]
    narrowed = re.search(r'href="/hansa([^"]+)">trader</a>', page)
    assert narrowed
    assert "kind+%3D+%22trader%22" in narrowed[1]
    assert await here.titles("?sort=-tons") == ["hulk", "cog", "barge"]
    assert await here.titles("?q=carack&exact=1") == []
    assert "Add a synonym" in await here.see("?q=submarine")
    sites = text_of(await here.visitor.get(f"/search?site={here.site.id}"))
    assert "up to date 3 3 1 the API" in sites
    for asked in ("?q=boat", "?q=boat&bare=1"):
        await here.see(asked)
    assert "Nobody has searched yet" in await here.see("/analytics")


async def test_what_cannot_be_asked_is_told_where(cell: TestCell) -> None:
    here = await pages(cell)
    for asked, told in (
        ("?filter=kind+%3D+x+AND+tns+%3C+5", "At 13: there is no field tns; did you mean tons?"),
        ("?facets=title", "title is no facet"),
        ("?sort=kind", "kind cannot be sorted by"),
        ("?q=" + "x" * 600, "length <= 512"),
        ("?page=900", "narrow the search"),
    ):
        assert told in unescape(await here.see(asked)), asked
    assert "kind = x AND <mark>t</mark>ns" in await here.see("?filter=kind+%3D+x+AND+tns+%3C+5")
    assert (await here.visitor.get(f"/search/{here.site.id}/boats")).status == 404


async def put_right(here: Pages) -> None:
    """Pin, hide and let go, and change words and rules, by forms."""
    place = {"q": "sail", "id": "hulk", "place": "1", "back": "q=sail"}
    await here.send("/place", change="pin", **place)
    assert await here.titles("?q=sail") == ["hulk", "cog"]
    page = await here.see("?q=sail&compare=1")
    assert "A rule has pinned it" in page
    assert "/rules?rule=sail" in page
    await here.send("/place", change="hide", **place)
    assert await here.titles("?q=sail") == ["cog"]
    assert "Hidden for this query" in await here.see("?q=sail")
    assert await here.titles("?q=sail&bare=1") == ["cog", "hulk"]
    await here.send("/place", change="free", **place)
    assert await here.titles("?q=sail") == ["cog", "hulk"]
    assert "There are none" in await here.see("/rules")
    await here.send("/words/synonym", id="", words="freighter, hulk")
    assert await here.titles("?q=freighter") == ["hulk"]
    await here.send("/words/stop", stops="sail\nsails")
    curation = await here.site.call(api.get_curation, "ships")
    assert curation.stop_words == ("sail", "sails")
    assert [one.id for one in curation.synonyms] == ["freighter"]
    await here.send("/words/remove", id="freighter")
    rule = {"match": "contains", "q": "boat", "hidden": "cog", "boosts": "2 kind = trader"}
    await here.send("/rules/put", **rule, enabled="1", instead="barge")
    assert await here.titles("?q=a+boat") == ["barge"]
    form = await here.see("/rules?rule=boat")
    assert ">2 kind = trader</textarea>" in form
    whole = await here.see("/json")
    assert "&#34;instead&#34;: &#34;barge&#34;" in whole


async def test_searches_are_put_right_by_hand(cell: TestCell) -> None:
    here = await pages(cell)
    await put_right(here)
    curation = '{"synonyms": [{"id": "x", "words": ["ship", "cog"]}]}'
    status, _ = await here.send("/json/put", curation=curation)
    assert status == 200
    assert (await here.site.call(api.get_curation, "ships")).rules == ()
    status, _ = await here.send("/rebuild")
    assert status == 200
    collection = await here.site.call(api.get_collection, "ships")
    assert collection.generation == 2
    while (await here.site.call(api.get_index, "ships")).generation != 2:
        assert await here.titles("?q=hulk") == ["hulk"]
    assert await here.titles("?q=hulk") == ["hulk"]


async def test_a_form_that_is_refused_says_at_which_field(cell: TestCell) -> None:
    here = await pages(cell)
    rule = {"match": "exact", "q": "sail", "enabled": "1"}
    for path, fields, told in (
        ("/rules/put", rule, "expected something to do"),
        ("/rules/put", rule | {"pins": "cog"}, "line 1: expected a place and a document"),
        ("/rules/put", rule | {"pins": "1 cog\n1 hulk"}, "line 2: another document is pinned"),
        ("/rules/put", rule | {"pins": "101 cog"}, "line 1: Expected `int` <= 100"),
        ("/rules/put", rule | {"boosts": "2 knd = x"}, "At 0: there is no field knd"),
        ("/rules/put", rule | {"filter": "tons <"}, "At 6:"),
        ("/rules/put", rule | {"match": "sometimes"}, "Invalid enum value"),
        ("/words/synonym", {"id": "", "words": "cog"}, "two words or phrases"),
        ("/words/stop", {"stops": "x" * 200}, "length <= 120"),
        ("/json/put", {"curation": "{"}, "It is no JSON"),
        ("/json/put", {"curation": '{"rules": [{"id": 5}]}'}, "/rules/0/id"),
        ("/json/put", {"curation": '{"rules": [{"id": "x", "filter": "z = 1"}]}'},
         "/rules/0/filter"),
        ("/place", {"change": "burn", "q": "", "id": "x", "place": "1"}, "changed by pin"),
    ):  # fmt: skip
        status, shown = await here.send(path, **fields)
        assert status in (400, 422), (path, fields)
        assert told in shown, (path, fields, shown)
        for text in fields.values():  # nothing that was typed is lost
            assert (
                path == "/place"
                or text.split("\n")[0][:40] in shown
                or "value=" in shown
                or (text in ("", "1", "exact", "sail", "cog", "tons <", "sometimes"))
            )
    assert await here.site.call(api.get_curation, "ships") == api.Curation()


async def test_who_may_only_look_changes_nothing(cell: TestCell) -> None:
    here = await pages(
        cell, "platform.sites:across", "search.collections:read", "search.documents:read"
    )
    page = await here.see("?q=sail")
    assert "Pin here" not in page
    assert "It has all words." in page
    for path, fields in (
        ("/place", {"change": "pin", "q": "sail", "id": "hulk", "place": "1"}),
        ("/words/synonym", {"id": "", "words": "a, b"}),
        ("/words/stop", {"stops": "a"}),
        ("/json/put", {"curation": "{}"}),
        ("/rebuild", {}),
    ):
        assert (await here.send(path, **fields))[0] == 403, path
    blind = await engineer(cell, "platform.sites:across")
    assert (await blind.get(here.path)).status == 403


def test_it_is_the_same_where_search_runs_elsewhere() -> None:
    async def run() -> None:
        async with SplitCell(*SERVICES, quay) as cell:
            here = await pages(cell)
            assert not cell.runtime.serves("search")
            assert "ships" in text_of(await here.visitor.get("/search"))
            await put_right(here)

    asyncio.run(run())


# ---- one box


async def test_whatever_has_a_name_or_an_id_is_found(cell: TestCell) -> None:
    here = await pages(cell)
    visitor = here.visitor
    events = await cell.rows("SELECT id, position, aggregate FROM hansa_events ORDER BY position")
    trace = "0af7651916cd43dd8448eb211c80319c"
    collection = next(one for _, _, one in events if one.startswith("search:coll_"))
    for q, path in (
        (here.site.id, f"/sites/{here.site.id}"),
        (here.site.id.upper(), f"/sites/{here.site.id}"),
        (trace, f"/traces/{trace}"),
        (f"00-{trace}-b7ad6b7169203331-01", f"/traces/{trace}"),
        (f"{trace}-b3b3aa65bc969ebe", f"/traces/{trace}"),
        (events[0][0], "/log/1"),
        ("0002", "/log/2"),
        (collection.partition(":")[2], "/log?"),
        ("quay", "/services/quay"),
        ("search.search_collection", "/api/search.search_collection"),
        ("search_collection", "/api/search.search_collection"),
        ("quay.ship_arrived", "/log?type=quay.ship_arrived"),
        ("invalid-filter", "/problems#invalid-filter"),
        ("due work", "/due"),
    ):
        reply = await visitor.get(f"/find?go=1&q={q.replace(' ', '+')}")
        assert reply.status == 303, (q, text_of(reply))
        assert reply.headers["location"].startswith(MOUNT + path), q
    for q, told in (
        ("quay.tow", "due work"), ("collcetion", "search.put_collection"),
        ("quay <b", here.site.id), ("carries cargo", "Nothing here is called"), ("", "Type the"),
        ("site_00000000000000000000000000", "Nothing here"), ("zzyx.qqyx", "Nothing here"),
    ):  # fmt: skip
        reply = await visitor.get(f"/find?q={q.replace(' ', '+')}")
        assert reply.status == 200, q
        assert told in text_of(reply), q
        assert "<b </b>" not in reply.body.decode()
    assert (await visitor.get("/find?q=" + "x" * 300)).status == 400


async def test_without_search_names_are_matched_letter_by_letter(cell: TestCell) -> None:
    class Here:
        services = (quay,)
        by_id = cell.runtime.by_id
        serves = cell.runtime.serves

    plain = Finder(Here())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert [one.name for one in plain.find("arrive")][:2] == ["quay.arrive", "quay.ship_arrived"]
    assert plain.find("arive") == []
    assert plain.find("") == []
    plain.close()


async def test_the_index_of_names_goes_with_the_process(cell: TestCell) -> None:
    finder = Finder(cell.runtime)
    assert finder.folder is not None
    assert finder.find("shp arived")[0].name == "quay.ship_arrived"
    assert any(os.scandir(finder.folder))
    finder.close()
    with pytest.raises(FileNotFoundError):
        os.scandir(finder.folder)
