"""What visitors do: who counts, what of it is kept and how much, and what others are told."""

from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
from sqlalchemy import func

from hansa.kernel.compiler import select
from hansa.kernel.context import Context
from hansa.kernel.service import Service
from hansa.platform.search import api, search, tables
from hansa.platform.search.api import collections, learning
from hansa.platform.search.indexes import Indexes
from hansa.platform.search.tracking import Count
from hansa.testing import TestCell
from tests.platform.search.test_keys import holder
from tests.platform.search.visitors import Harbour, harbour

T = TypeVar("T")

_learned = select(tables.learned.c.q)
_clicked = select(tables.clicks.c.visitor).order_by(tables.clicks.c.visitor)
_asked = select(tables.queries.c.q).order_by(tables.queries.c.searches.desc())
_popular = select(tables.documents.c.id).where(tables.documents.c.popularity > 0)
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
    await port.cell.runtime.resources[Indexes].write_down()  # now, or in the midst of what follows
    for number in range(8):
        assert await click(port, f"192.0.2.{number}", found, "cog", 1, "v") == ""
    some = [Count(port.site.id, fleet, f"q{one}", 1, 0, ()) for one in range(8)]
    await within(port, lambda ctx: learning.count_searches(ctx, some))
    await within(port, lambda ctx: learning.forget.fn(ctx, fleet))
    assert [await kept(port, one, int) for one in _rows] == [[6], [5]], "one piece"
    await cell.until(lambda: is_empty(port))


async def is_empty(port: Harbour) -> bool:
    return [await kept(port, one, int) for one in _rows] == [[0], [0]]


async def test_nothing_is_left_of_a_removed_collection_piece_by_piece(cell: TestCell) -> None:
    pieces = collections.PURGE_MAX
    port = await harbour(cell)
    fleet = (await port.site.call(api.get_collection, name="fleet")).id
    rows = [
        {"collection_id": fleet, "day": date(2026, 1, 1 + one % 2), "q": f"q{one}", "searches": 1,
         "without": 0, "shown": (), "askers": 0, "asked_by": ()}
        for one in range(2 * pieces + 2)
    ]  # fmt: skip
    await within(port, lambda ctx: ctx.db.insert_all(tables.queries, rows))
    found = await port.search("192.0.2.1", q="cog")
    await port.cell.runtime.resources[Indexes].write_down()  # now, or in the midst of what follows
    assert await click(port, "192.0.2.1", found, "cog", 1, "v") == ""
    await within(port, lambda ctx: collections.purge.fn(ctx, fleet))
    assert [await kept(port, one, int) for one in _rows] == [[pieces + 3], [0]], "one piece"
    await cell.until(lambda: is_empty(port))


async def test_rows_of_one_visitor_and_of_a_day_are_bounded(
    cell: TestCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "VISITOR_MAX", 2)
    monkeypatch.setattr(learning, "DAY_MAX", 5)
    port = await harbour(cell)
    found = await port.search("192.0.2.1", q="a")
    ids = [hit["document"]["id"] for hit in found["hits"]]
    assert len(ids) > 2
    for visitor, rows in ((1, 2), (2, 4), (3, 5), (4, 5)):
        for place, id in enumerate(ids, 1):
            assert await click(port, f"192.0.2.{visitor}", found, id, place, "v") == ""
        assert await kept(port, _rows[1], int) == [rows]


async def test_one_visitor_does_not_hide_the_others(
    cell: TestCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows there are of one: they are not all that is read, nor what is counted."""
    port = await harbour(cell)
    fleet = (await port.site.call(api.get_collection, name="fleet")).id
    found = await port.search("192.0.2.1", q="a")
    ids = [hit["document"]["id"] for hit in found["hits"]]
    for number in range(12):
        id, place = (ids[0], 1) if number < 4 else (ids[-1], len(ids))
        assert await click(port, f"192.0.2.{number}", found, id, place, "v") == ""
    for one in range(30):
        found = await port.search("192.0.2.99", q="a " * (one + 1))
        assert await click(port, "192.0.2.99", found, ids[0], 1, "v") == ""
    monkeypatch.setattr(learning, "VISITOR_MAX", 3)
    monkeypatch.setattr(learning, "ROWS_MAX", 16)
    await within(port, partial(learning.learn.fn, collection=fleet))
    assert await kept(port, _learned) == ["a"]


async def test_what_nobody_chooses_any_more_is_not_popular(
    cell: TestCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "PIECE", 1)
    port = await harbour(cell)
    fleet = (await port.site.call(api.get_collection, name="fleet")).id
    found = await port.search("192.0.2.1", q="a")
    ids = [hit["document"]["id"] for hit in found["hits"]]
    for number in range(4):
        for place, id in enumerate(ids, 1):
            assert await click(port, f"192.0.2.{number}", found, id, place, "v") == ""
    learn = partial(learning.learn.fn, collection=fleet)
    await within(port, learn)
    assert sorted(await kept(port, _popular)) == sorted(ids)
    before = (await port.site.call(api.get_collection, name="fleet")).last_change
    monkeypatch.setattr(learning, "LEARNED_OF", timedelta(days=-2))
    await within(port, learn)
    assert await kept(port, _popular) == []
    after = (await port.site.call(api.get_collection, name="fleet")).last_change
    assert after == before + len(ids), "each is written into the index anew"


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
