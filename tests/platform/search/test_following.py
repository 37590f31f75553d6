"""Whether an index can go on with the rows that there are, what visitors see while it is of an
older schema than the open filter, and where searches run."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given

from hansa.kernel.problems import Overloaded
from hansa.kernel.pruning import LOG_KEPT_S
from hansa.platform.search import api, filters
from hansa.platform.search.api.collections import Whole
from hansa.platform.search.api.following import Changed, Changes
from hansa.platform.search.engine.index import Index, IndexUnusable
from hansa.platform.search.filters import Filter
from hansa.platform.search.folders import Folders
from hansa.platform.search.following import check
from hansa.platform.search.making import renew
from hansa.platform.search.opened import Opened
from hansa.platform.search.point import Point
from hansa.platform.search.schema import Field, Schema
from hansa.platform.search.searchers import SMALL, Searchers, is_large
from hansa.platform.search.writers import Writers
from tests.platform.search import fields
from tests.platform.search.test_service import BOATS, SCHEMA

MONTH_US = LOG_KEPT_S * 1_000_000


def found(
    seq: int, event: str, then: str, *, last: int = 9, forgotten: int = 0, at_us: int = 1
) -> Changes:
    return Changes((), 1, last, Point(seq, event, forgotten, at_us), then)


@pytest.mark.parametrize(
    ("point", "upto", "later"),
    [
        (None, 0, found(3, "c", "")),
        (None, 0, found(3, "c", "", forgotten=7)),
        (Point(3, "c", 0, 0), 9, found(3, "c", "c")),
        (Point(3, "c", 0, 0), 9, found(5, "e", "c", last=12)),
        (Point(3, "c", 0, 0), 9, found(5, "e", "", last=12)),  # pruned
        (Point(3, "", 0, 0), 9, found(3, "", "")),
        (Point(3, "c", 7, 0), 0, found(5, "e", "c", forgotten=7)),
        (Point(3, "c", 0, 0), 9, found(5, "e", "c", forgotten=9)),
    ],
)
def test_an_index_goes_on(point: Point | None, upto: int, later: Changes) -> None:
    check(point, upto, later)


@pytest.mark.parametrize(
    ("point", "upto", "later", "why"),
    [
        (None, 9, found(3, "c", ""), "nobody knows"),
        (Point(3, "c", 0, 0), 10, found(3, "c", "c"), "the rows are at 9"),
        (Point(3, "c", 0, 0), 9, found(2, "b", ""), "restored"),
        (Point(3, "c", 0, 0), 9, found(3, "x", "x"), "restored"),
        (Point(3, "c", 0, 0), 9, found(5, "z", "x"), "restored"),
        (Point(3, "", 0, 0), 9, found(5, "z", "x"), "restored"),
        (Point(3, "c", 0, 0), 9, found(5, "", "", at_us=MONTH_US), "restored"),
        (Point(3, "c", 0, 0), 8, found(5, "e", "c", forgotten=9), "deletions"),
        (Point(3, "c", 7, 0), 8, found(5, "e", "c", forgotten=9), "deletions"),
    ],
)
def test_an_index_cannot_go_on(point: Point | None, upto: int, later: Changes, why: str) -> None:
    with pytest.raises(IndexUnusable, match=why):
        check(point, upto, later)


def test_an_index_that_stands_where_it_stood_needs_no_room_on_the_disk(tmp_path: Path) -> None:
    async def run() -> None:
        shelf = Shelf(tmp_path / "index")
        await shelf.put(*BOATS)
        (tmp_path / "index" / "point.json.new").mkdir()  # so that no point can be noted
        await shelf.put()
        with pytest.raises(OSError, match=r"point\.json\.new"):
            await shelf.put({"id": "new", "kind": "ship"})
        assert shelf.seen() == ["barge", "cog", "hulk"]

    asyncio.run(run())


# ---- what visitors see


def test_what_visitors_see_can_be_imported_first() -> None:
    command = [sys.executable, "-c", "import hansa.platform.search.visitors"]
    subprocess.run(command, check=True)


WIDER = Schema((*SCHEMA.fields, Field("year", "int")), title="title")


def whole(schema: Schema, open_filter: str | None, revision: int, last_change: int) -> Whole:
    return Whole(
        "coll_x", "fleet", schema, api.Curation(), open_filter, "", 0, True, revision, revision,
        last_change, 0,
    )  # fmt: skip


async def at_once(errand: Any) -> Any:
    return errand()


class Shelf:
    """A collection that is open, and the changes that come."""

    def __init__(self, folder: Path, open_filter: str | None = "", *, generation: int = 1) -> None:
        folder.mkdir()
        index = Index.open(folder / "engine", SCHEMA)
        first = whole(SCHEMA, open_filter, 1, 0)
        self.opened = Opened("site_x", 0, first, index, generation, SCHEMA)
        self.revision = 1
        self._changes: list[Changed] = []

    async def put(self, *documents: dict[str, Any] | str) -> None:
        """Put documents, or delete those of which there is the id."""
        for one in documents:
            id = one if isinstance(one, str) else one["id"]
            body = None if isinstance(one, str) else msgspec.json.encode(one)
            self._changes.append(Changed(id, len(self._changes) + 1, body, 0.0))

        await self.opened.catch_up(self.read, at_once)

    async def read(self, after: int, seq: int) -> Changes:
        event = f"evt_{seq}" if seq else ""
        last = len(self._changes)
        point = Point(last + 1, f"evt_{last + 1}", 0, 1)
        return Changes(tuple(self._changes[after:]), self.revision, last, point, event)

    def change(self, schema: Schema, open_filter: str) -> None:
        """Have another schema, with an index that is still of the one before."""
        self.revision += 1
        self.opened.take(whole(schema, open_filter, self.revision, len(self._changes)))

    def seen(self, always: Filter | None = None) -> list[str]:
        """What visitors find; all of it with `always`."""
        opened = self.opened
        assert opened.is_open
        if opened.open_filter is not None:
            opened.check(opened.open_filter)
        hits = opened.index.search(
            api.SearchRequest(), always=always or opened.open_filter, curation=opened.curation,
            learned={},
        ).hits  # fmt: skip
        return sorted(msgspec.json.decode(hit.document)["id"] for hit in hits)


def test_what_a_tightened_open_filter_hides_is_hidden_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        shelf = Shelf(tmp_path / "index")
        await shelf.put(*BOATS)
        assert shelf.seen() == ["barge", "cog", "hulk"]
        shelf.change(WIDER, "kind = ship AND NOT year > 1500")
        assert shelf.seen() == ["cog", "hulk"]
        await shelf.put("cog", {"id": "old", "kind": "ship", "year": 1400})
        assert shelf.seen() == ["hulk", "old"]
        await shelf.put({"id": "new", "kind": "ship", "year": 1600}, {**BOATS[1], "year": 1700})
        assert shelf.seen() == ["old"]
        shelf.opened.take(shelf.opened.whole)  # something else has changed
        assert shelf.seen() == ["old"]
        assert shelf.seen(filters.Exists("id")) == ["barge", "hulk", "new", "old"]
        shelf.change(SCHEMA, "kind = ship")
        assert shelf.seen() == ["hulk", "new", "old"]

    asyncio.run(run())


def test_a_field_that_an_earlier_schema_had_may_have_values(tmp_path: Path) -> None:
    async def run() -> None:
        shelf = Shelf(tmp_path / "index", generation=2)
        await shelf.put(*BOATS, {"id": "left", "kind": "ship", "year": 1600})
        shelf.change(WIDER, "NOT year > 1500")
        with pytest.raises(Overloaded, match="being made"):
            shelf.seen()
        await shelf.put({"id": "new", "year": 1600}, {"id": "old", "year": 1400})
        await shelf.opened.look_through(shelf.read, at_once)
        assert shelf.seen() == ["barge", "cog", "hulk", "old"]

    asyncio.run(run())


def test_where_nothing_is_certain_visitors_are_told_to_come_again(tmp_path: Path) -> None:
    async def run() -> None:
        for number, (before, after) in enumerate(
            [
                ("", "year > 1500"),  # nothing has a year
                (None, "NOT year > 1500"),  # nobody saw anything
            ]
        ):
            shelf = Shelf(tmp_path / str(number), before)
            await shelf.put(*BOATS)
            shelf.change(WIDER, after)
            with pytest.raises(Overloaded, match="being made"):
                shelf.seen()

    asyncio.run(run())


def test_a_filter_of_a_field_that_becomes_another_type_waits(tmp_path: Path) -> None:
    """Over 1000 is another thing where prices have fractions, that the index has not."""

    async def run() -> None:
        shelf = Shelf(tmp_path / "index", "NOT price > 1000")
        await shelf.put(*BOATS)
        assert shelf.seen() == ["barge", "cog"]
        finer = tuple(
            msgspec.structs.replace(one, type="float") if one.name == "price" else one
            for one in SCHEMA.fields
        )
        shelf.change(msgspec.structs.replace(SCHEMA, fields=finer), "NOT price > 1000")
        await shelf.put({"id": "new", "price": 1000.5})
        with pytest.raises(Overloaded, match="being made"):
            shelf.seen()

    asyncio.run(run())


def test_what_came_under_another_open_filter_waits_until_that_is_known(tmp_path: Path) -> None:
    async def run() -> None:
        shelf = Shelf(tmp_path / "index")
        await shelf.put(*BOATS)
        shelf.revision += 1  # and nobody has heard of it
        await shelf.put({"id": "new", "kind": "ship"})
        assert shelf.opened.is_stale
        assert shelf.seen() == ["barge", "cog", "hulk"]

    asyncio.run(run())


def test_what_came_under_another_open_filter_is_seen_by_that_in_an_index_made_anew(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        shelf = Shelf(tmp_path / "index")
        await shelf.put(*BOATS)
        shelf.opened.spoil()
        shelf.revision += 1  # and nobody has heard of it
        await shelf.put({"id": "new", "kind": "boat"})
        said = whole(SCHEMA, "kind = ship", shelf.revision, 4)

        async def read_whole() -> Whole:
            return msgspec.structs.replace(said, generation=1)

        folders, writers = Folders(tmp_path / "indexes"), Writers(asyncio.to_thread)
        before = shelf.opened.index
        await renew(shelf.opened, folders, writers, shelf.read, read_whole)
        assert shelf.opened.index is not before
        assert shelf.seen() == ["cog", "hulk"]
        assert shelf.seen(filters.Exists("id")) == ["barge", "cog", "hulk", "new"]
        await writers.shut(shelf.opened.index)

    asyncio.run(run())


OLDER = Schema(
    tuple(
        msgspec.structs.replace(one, type="text") if one.name == "brand" else one
        for one in fields.SCHEMA.fields
        if one.name not in ("price", "attributes")
    ),
    title="title",
)


@given(fields.FILTERS, fields.DOCUMENTS)
def test_a_narrowed_filter_lets_nothing_through_that_the_filter_hides(
    filter: Filter, document: dict[str, Any]
) -> None:
    older = {name: document[name] for name in document if OLDER.field(name) is not None}
    narrowed = filters.narrowed(filter, OLDER, fields.SCHEMA)
    if isinstance(narrowed, bool):
        is_through = narrowed
    else:
        filters.check(narrowed, OLDER)
        is_through = filters.lets_through(narrowed, older, OLDER)
    assert filters.lets_through(filter, older, fields.SCHEMA) or not is_through


def test_a_filter_that_fits_is_not_narrowed() -> None:
    one = filters.parse('brand = "HP" AND (price > 5 OR NOT used = true)')
    assert one is not None
    narrowed = filters.narrowed(one, fields.SCHEMA, fields.SCHEMA)
    assert not isinstance(narrowed, bool)
    assert filters.text_of(narrowed) == filters.text_of(one)


# ---- where searches run


def test_searches_that_ask_for_much() -> None:
    ranges = tuple(api.Range(n, n + 1) for n in range(20))
    for one in (
        api.SearchRequest("cog", facets=tuple(api.Facet(f"f{n}") for n in range(20))),
        api.SearchRequest("cog", facets=(api.Facet("price", ranges=ranges),)),
        api.SearchRequest(filter=" OR ".join(["price = 1"] * 50)),
        api.SearchRequest(explain=True),
        api.SearchRequest(per_page=100),
    ):
        assert is_large(one)
    small = api.SearchRequest("cog", filter="price = 1", facets=(api.Facet("price"),))
    assert not is_large(small, filters.Equals("kind", "ship"))
    assert is_large(small, filters.OneOf("id", tuple(map(str, range(200)))))


def test_a_collection_that_was_slow_comes_back_from_the_threads() -> None:
    async def run() -> None:
        searchers = Searchers()
        here = threading.current_thread().name
        nothing = api.Found(0, 1, (), ())
        ran: list[str] = []

        def work() -> api.Found:
            ran.append(threading.current_thread().name)
            return nothing

        searchers._pace.note("coll_x", 1.0)
        assert searchers.are_slow("coll_x")
        await searchers.run("coll_x", 5, work)
        assert ran[-1] != here
        for _ in range(200):
            await searchers.run("coll_x", 5, work)
        assert not searchers.are_slow("coll_x")
        assert ran[-1] == here
        await searchers.run("coll_x", SMALL + 1, work, large=True)
        assert ran[-1] != here
        await searchers.run("coll_x", SMALL + 1, work)
        assert ran[-1] == here
        searchers.stop()

    asyncio.run(run())
