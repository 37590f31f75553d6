"""What visitors do: who counts, what of it is kept and how much, and what others are told."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
from sqlalchemy import func

from hansa.kernel.compiler import select
from hansa.kernel.context import Context
from hansa.kernel.service import Service
from hansa.platform.search import api, search, tables
from hansa.platform.search.api import learning
from hansa.platform.search.indexes import Indexes
from hansa.platform.search.tracking import Count
from hansa.testing import TestCell
from tests.platform.search.test_keys import holder
from tests.platform.search.visitors import Harbour, harbour

T = TypeVar("T")

_learned = select(tables.learned.c.q)
_clicked = select(tables.clicks.c.visitor).order_by(tables.clicks.c.visitor)
_asked = select(tables.queries.c.q).order_by(tables.queries.c.searches.desc())
_digests = select(tables.queries.c.asked_by)
_rows = [select(func.count()).select_from(one) for one in (tables.queries, tables.clicks)]


@pytest.fixture
def services() -> list[Service]:
    return [search]


async def within(port: Harbour, work: Callable[[Context], Awaitable[T]]) -> T:
    """Do something as the service does."""
    return await port.cell.runtime.commit(work, site=port.site.id, cause="test", service="search")


async def kept(port: Harbour, statement: Any, kind: Any = str) -> list[Any]:
    """Return what is in the rows of a site."""
    found: list[Any] = await within(port, lambda ctx: ctx.db.all(statement, kind))
    return found


async def click(port: Harbour, address: str, found: Any, id: str, place: int, visitor: str) -> str:
    """Tell of a click; return the slug of the refusal, if it is refused."""
    use = {"query_id": found["query_id"], "type": "click", "id": id, "place": place}
    reply = await port.ask(address, "/search/events", {**use, "visitor": visitor})
    return "" if reply.status == 204 else reply.slug


async def test_one_address_is_one_visitor_whatever_it_says(cell: TestCell) -> None:
    port = await harbour(cell)
    found = await port.search("192.0.2.1", q="cog")
    for number in range(5):
        assert await click(port, "192.0.2.1", found, "cog", 1, f"visitor {number}") == ""
    assert len(await kept(port, _clicked)) == 1
    key = await holder(cell, port.site, "fleet")
    assert key.caller.principal.is_stranger, "what a shop hands out is no shop's own key"
    assert await click(port, "192.0.2.2", found, "cog", 1, "visitor 1") == ""
    visitors = await kept(port, _clicked)
    assert len(visitors) == 2
    assert not any("192.0.2" in one for one in visitors)


async def test_what_a_search_did_not_show_is_not_clicked(cell: TestCell) -> None:
    port = await harbour(cell)
    found = await port.search("192.0.2.1", q="cog")
    assert await click(port, "192.0.2.1", found, "hulk", 1, "v") == "unknown-hit"
    assert await click(port, "192.0.2.1", found, "cog", 2, "v") == "unknown-hit"
    other = {"query_id": found["query_id"][:-4] + "AAAA"}
    assert await click(port, "192.0.2.1", other, "cog", 1, "v") == "unknown-query"
    assert await kept(port, _clicked) == []
    wide = await port.search("192.0.2.1", q="杯" * 400)
    assert await click(port, "192.0.2.1", wide, "cog", 1, "v") == "unknown-hit"


async def suggested(port: Harbour) -> tuple[str, ...]:
    """Return what is suggested of what visitors asked, once it is written down."""
    await port.cell.runtime.resources[Indexes].write_down()
    fleet = await port.site.call(api.get_collection, name="fleet")
    return (await within(port, lambda ctx: learning.read_memory(ctx, fleet.id))).frequent


async def test_only_what_several_visitors_ask_is_suggested(cell: TestCell) -> None:
    """However often one asks; and not what is asked by who finds only a part."""
    port = await harbour(cell)
    for _ in range(9):
        await port.search("192.0.2.1", q="cog at home")
        await port.search("", q="anchor")  # nobody knows who
    assert await suggested(port) == ()
    for number in range(6):
        await port.search(f"192.0.2.{number}", q="Hulk")
    assert await suggested(port) == ("hulk",)
    await port.search("192.0.2.2", q="cog at home")
    assert await suggested(port) == ("hulk",)
    await port.search("192.0.2.3", q="cog at home")
    assert await suggested(port) == ("cog at home", "hulk")
    digests = [one for some in await kept(port, _digests, tuple[str, ...]) for one in some]
    assert digests == [], "who asked for what several ask is not kept"


async def test_words_of_who_finds_only_a_part_are_not_for_others(cell: TestCell) -> None:
    port = await harbour(cell, "kind = ship")
    for number in range(9):
        await port.search(f"192.0.2.{number}", q="cog")
    assert await suggested(port) == ()
    assert await kept(port, _asked) == ["cog"], "it is counted"


async def test_rows_of_queries_are_bounded_and_the_frequent_ones_stay(
    cell: TestCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "QUERIES_MAX", 30)
    monkeypatch.setattr(learning, "PIECE", 7)
    port = await harbour(cell)
    fleet = (await port.site.call(api.get_collection, name="fleet")).id

    async def count(*some: Count) -> None:
        await within(port, lambda ctx: learning.count_searches(ctx, some))

    await count(*(Count(port.site.id, fleet, f"f{one}", 9, 0, ()) for one in range(20)))
    for time in range(3):
        await count(*(Count(port.site.id, fleet, f"r{time} {one}", 1, 0, ()) for one in range(40)))
        asked = await kept(port, _asked)
        assert len(asked) == 30
        assert set(asked[:20]) == {f"f{one}" for one in range(20)}


async def test_what_is_old_is_forgotten_piece_by_piece(
    cell: TestCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "PIECE", 3)
    monkeypatch.setattr(learning, "KEPT", timedelta(days=-2))
    port = await harbour(cell)
    fleet = (await port.site.call(api.get_collection, name="fleet")).id
    found = await port.search("192.0.2.1", q="cog")
    for number in range(8):
        assert await click(port, f"192.0.2.{number}", found, "cog", 1, "v") == ""
    some = [Count(port.site.id, fleet, f"q{one}", 1, 0, ()) for one in range(8)]
    await within(port, lambda ctx: learning.count_searches(ctx, some))
    await within(port, lambda ctx: learning.forget.fn(ctx, fleet))
    assert [await kept(port, one, int) for one in _rows] == [[5], [5]], "one piece"
    await cell.until(lambda: is_empty(port))


async def is_empty(port: Harbour) -> bool:
    return [await kept(port, one, int) for one in _rows] == [[0], [0]]


async def test_what_is_learned_of_many_and_of_one(cell: TestCell) -> None:
    """Twelve visitors on one day lift a document; one who comes twelve times lifts none."""
    port = await harbour(cell)
    fleet = (await port.site.call(api.get_collection, name="fleet")).id
    found = await port.search("192.0.2.1", q="a")
    ids = [hit["document"]["id"] for hit in found["hits"]]
    for _ in range(12):
        assert await click(port, "192.0.2.1", found, ids[-1], len(ids), "v") == ""
    learn = partial(learning.learn.fn, collection=fleet)
    await within(port, learn)
    assert await kept(port, _learned) == []
    for number in range(12):
        id, place = (ids[0], 1) if number < 4 else (ids[-1], len(ids))
        assert await click(port, f"192.0.2.{number}", found, id, place, "v") == ""
    await within(port, learn)
    assert await kept(port, _learned) == ["a"]
