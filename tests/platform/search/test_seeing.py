"""Seeing a part: an answer is the same whether or not there are documents that nobody may see."""

from typing import Any

import msgspec
import pytest

from hansa.kernel.problems import Denied
from hansa.kernel.service import Service
from hansa.platform.search import api, search
from hansa.testing import TestCell, TestSite
from tests.platform.search.test_keys import holder
from tests.platform.search.test_service import SCHEMA, ndjson

SEEN = (
    "red mug", "blue mug", "tall teapot", "grand piano", "planetary gear", "crane", "über wheel",
    "gruel", "sail cloth", "mast",
)  # fmt: skip
HIDDEN = (
    "mgu", "mugs muggy", "teaport", "Grütze grutzen", "pianola", "planetariums", "crania", "uber",
    "sailcloth", "masts mastr", "zirconium", "mug mug mug teapot crane", "cranes wheels", "gruell",
)  # fmt: skip
QUERIES = (
    "mgu", "mug", "muggy", "teaport", "teaprot", "grutze", "grutz", "gruell", "pianola", "pianno",
    "planetarium", "planetarum", "plenatery", "carne", "crania", "uber", "uebr", "sailcloth",
    "sail cloth", "saicloth", "mastr", "zirconium", "zirkonium", "zircon", "pia", "gr", "m", "z",
    '"red mug"', "mug -muggy", "whel",
)  # fmt: skip


@pytest.fixture
def services() -> list[Service]:
    return [search]


async def filled(cell: TestCell, name: str, hidden: tuple[str, ...]) -> tuple[TestSite, int]:
    site = await cell.site(name)
    form = api.CollectionForm(SCHEMA, open_filter="kind = seen")
    await site.call(api.put_collection, name="fleet", body=form)
    rows = [{"id": f"s{at}", "title": one, "kind": "seen"} for at, one in enumerate(SEEN)]
    rows += [{"id": f"h{at}", "title": one, "kind": "hidden"} for at, one in enumerate(hidden)]
    taken = await site.call(api.put_documents, name="fleet", raw=ndjson(*rows))
    return site, taken.change


def told(found: api.Found) -> Any:
    """All of an answer but the order, which goes by scores."""
    hits = sorted(
        (msgspec.json.encode(hit.document), sorted(hit.highlights.items())) for hit in found.hits
    )
    return found.found, hits, found.facets, found.corrected


async def test_an_answer_does_not_tell_of_what_is_hidden(cell: TestCell) -> None:
    with_hidden, change = await filled(cell, "one", HIDDEN)
    without, other = await filled(cell, "two", ())
    assert (change, other) == (len(SEEN) + len(HIDDEN), len(SEEN))
    for site, last in ((with_hidden, change), (without, other)):
        await site.visitor.call(
            api.search_collection, name="fleet", body=api.SearchRequest(change=last)
        )
    forgiven = 0
    for q in QUERIES:
        for prefix in (False, True):
            body = api.SearchRequest(
                q, facets=(api.Facet("kind"),), highlight=("title",), prefix=prefix, per_page=50
            )
            answers = [
                await site.visitor.call(api.search_collection, name="fleet", body=body)
                for site in (with_hidden, without)
            ]
            assert told(answers[0]) == told(answers[1]), (q, prefix)
            assert all(hit.score == 0 for found in answers for hit in found.hits)
            forgiven += bool(answers[0].corrected and answers[0].found)
        named = [
            await site.visitor.call(api.suggest, name="fleet", q=q)
            for site in (with_hidden, without)
        ]
        assert named[0] == named[1]
    assert forgiven > 10, "visitors of a part are forgiven typos, too"


async def test_why_a_hit_is_there_is_for_who_sees_all(cell: TestCell) -> None:
    site, change = await filled(cell, "one", HIDDEN)
    body = api.SearchRequest("mug", explain=True, change=change)
    scoped = await holder(cell, site, "fleet", filter="kind = seen")
    for caller in (site.visitor, scoped, site.key("search.collections:read")):
        with pytest.raises(Denied):
            await caller.call(api.search_collection, name="fleet", body=body)
    reader = site.key("search.collections:read", "search.documents:read")
    found = await reader.call(api.search_collection, name="fleet", body=body)
    assert found.hits[0].why and found.hits[0].score
    plain = await scoped.call(
        api.search_collection, name="fleet", body=api.SearchRequest("mug", change=change)
    )
    assert plain.found == 2 and plain.hits[0].score == 0
