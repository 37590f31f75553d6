"""Large indexes: made in portions that leave few segments, and made anew when they are worn."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.assembly import Place
from hansa.platform.search import api, following, making, opened, portions, search, tending
from hansa.platform.search import indexes as open_indexes
from hansa.platform.search.api.following import Changes
from hansa.platform.search.engine import index as engine
from hansa.platform.search.engine.index import COMPACT_MAX, LARGE_BYTES, WRITER_BYTES, Index
from hansa.platform.search.folders import Folders
from hansa.platform.search.indexes import Indexes
from hansa.platform.search.making import renew
from hansa.platform.search.opened import Opened
from hansa.platform.search.portions import MERGED, PORTION_MAX, Portions
from hansa.platform.search.writers import Writers
from hansa.testing import TestCell, TestSite
from tests.platform.search.engine.shelf import change as changed
from tests.platform.search.test_following import Shelf
from tests.platform.search.test_service import SCHEMA, ids, ndjson

SOON_S = 0.01
COUNT = 60
BOATS = [{"id": f"b{number:02}", "title": f"Cog {number}"} for number in range(COUNT)]
ALL = [one["id"] for one in BOATS]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty documents are many, and are not compacted whenever their index comes to rest."""
    monkeypatch.setattr(engine, "SMALL", 0)
    for module in (open_indexes, opened, portions):
        monkeypatch.setattr(module, "COMPACT_MAX", 40)
    monkeypatch.setattr(portions, "PORTION_MAX", 30)


@pytest.fixture
def budgets(small: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much memory each writer was given."""
    given: list[int] = []
    new_writer = Index._new_writer

    def noted(index: Index, most_bytes: int) -> Any:
        given.append(most_bytes)
        return new_writer(index, most_bytes)

    monkeypatch.setattr(Index, "_new_writer", noted)
    return given


@pytest.fixture
def cell(small: None, place: Place, monkeypatch: pytest.MonkeyPatch) -> TestCell:
    monkeypatch.setattr(opened, "LOOK_S", SOON_S)
    monkeypatch.setattr(opened, "COMPACT_REST", 1e9)
    monkeypatch.setattr(open_indexes, "TEND_S", SOON_S)
    return TestCell(search, place=place)


async def filled(site: TestSite, name: str = "fleet") -> int:
    """Put many documents at once; return the number of the last change."""
    await site.call(api.put_collection, name=name, body=api.CollectionForm(SCHEMA))
    taken: api.Taken = await site.call(api.put_documents, name=name, raw=ndjson(*BOATS))
    return taken.change


async def made(cell: TestCell, name: str = "fleet") -> tuple[TestSite, Opened]:
    """Return a new site with many documents, and its index, which has all of them."""
    site = await cell.site()
    await ids(site, name=name, change=await filled(site, name))
    return site, await cell.runtime.resources[Indexes].find(site.id, name)


async def wear(site: TestSite, name: str = "fleet") -> None:
    """Replace a third of the documents."""
    await site.call(api.put_documents, name=name, raw=ndjson(*BOATS[: COUNT // 3]))


# ---- portions


@given(st.integers(0, 500_000_000))
def test_portions_are_segments_that_the_engine_merges_into_one(documents: int) -> None:
    made = Portions(documents)
    if documents <= COMPACT_MAX:
        assert made.left == 0
        return
    assert made.left in {MERGED**level for level in range(5)}
    assert made.left == 1 or documents > made.left // MERGED * PORTION_MAX
    last = documents - (made.left - 1) * made.size
    assert 0 < last <= made.size <= PORTION_MAX
    assert last * 2**0.75 > made.size  # as alike as the engine wants them


async def test_a_large_index_is_made_in_portions_and_ends_in_one_segment(
    cell: TestCell, budgets: list[int]
) -> None:
    site = await cell.site()
    change = await filled(site)
    assert len(await ids(site, "cog", change=change, per_page=100)) == COUNT
    held = await cell.runtime.resources[Indexes].find(site.id, "fleet")
    assert (held.index.checkpoint, held.index.documents, held.index.segments) == (change, COUNT, 1)
    assert budgets == [LARGE_BYTES] * MERGED
    put = await site.call(api.put_document, name="fleet", id="hulk", body={"title": "A hulk"})
    assert await ids(site, "hulk", change=put.change) == ["hulk"]
    assert budgets == [LARGE_BYTES] * MERGED + [WRITER_BYTES]


def test_a_large_index_is_made_anew_in_portions_of_what_it_has(
    budgets: list[int], tmp_path: Path
) -> None:
    async def run() -> None:
        shelf = Shelf(tmp_path / "index")
        await shelf.put(*BOATS)
        shelf.opened.spoil()
        budgets.clear()
        folders, writers = Folders(tmp_path / "indexes"), Writers(asyncio.to_thread)
        await renew(shelf.opened, folders, writers, shelf.read, nobody)
        assert budgets == [LARGE_BYTES] * MERGED
        assert (shelf.opened.index.segments, len(shelf.seen())) == (1, 10)
        assert shelf.opened.index.documents == COUNT
        await writers.shut(shelf.opened.index)

    asyncio.run(run())


async def nobody() -> None:
    raise AssertionError("nothing but documents has changed")


def test_a_portion_that_nobody_wants_any_more_is_not_written_to_its_end(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "PORTION_MAX", COUNT)
    monkeypatch.setattr(following, "CHANGES_MAX", 10)

    async def run() -> None:
        shelf = Shelf(tmp_path / "index")
        await shelf.put(*BOATS[:10])
        await shelf.put(*BOATS[10:])
        asked: list[int] = []

        async def read(after: int, seq: int) -> Changes:
            asked.append(after)
            shelf.opened.is_closed = after == 20
            found = await shelf.read(after, seq)
            return msgspec.structs.replace(found, changes=found.changes[:10])

        before = shelf.opened.index
        folders, writers = Folders(tmp_path / "indexes"), Writers(asyncio.to_thread)
        await renew(shelf.opened, folders, writers, read, nobody)
        assert asked == [0, 10, 20]
        assert shelf.opened.index is before
        assert not list((tmp_path / "indexes").rglob("coll_x*"))

    asyncio.run(run())


def test_one_large_portion_is_under_way_at_a_time(budgets: list[int], tmp_path: Path) -> None:
    async def run() -> None:
        writers = Writers(asyncio.to_thread)
        one, other, third = (Index.open(tmp_path / str(n) / "engine", SCHEMA) for n in range(3))
        under_way: list[Index] = []

        async def write(index: Index) -> None:
            async with writers.large_turn(index):
                under_way.append(index)
                index.write([changed(1, "cog", title="A cog")], 1)
                async with writers.turn(third):  # ordinary ones go on
                    third.write([], third.checkpoint + 1)
                    third.commit()
                assert under_way == [index]
                under_way.clear()

        await asyncio.gather(write(one), write(other))
        assert (one.checkpoint, other.checkpoint, third.checkpoint) == (1, 1, 2)
        assert (one._writer, other._writer) == (None, None)
        for index in (one, other, third):
            await writers.shut(index)

    asyncio.run(run())


def test_a_large_portion_that_fails_gives_its_memory_back(
    budgets: list[int], tmp_path: Path
) -> None:
    async def run() -> None:
        writers, index = Writers(asyncio.to_thread), Index.open(tmp_path / "engine", SCHEMA)
        with pytest.raises(ZeroDivisionError):
            async with writers.large_turn(index):
                index.write([changed(1, "cog", title="A cog")], 1)
                raise ZeroDivisionError
        assert (index._writer, index.checkpoint, index.documents) == (None, 0, 0)
        async with writers.turn(index):
            index.write([changed(1, "hulk", title="A hulk")], 1)
            index.commit()
        assert (index.checkpoint, index.documents) == (1, 1)
        assert budgets == [LARGE_BYTES, WRITER_BYTES]
        await writers.shut(index)

    asyncio.run(run())


# ---- worn


def test_an_index_is_worn_in_many_segments_or_with_much_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WORN_SEGMENTS", 6)
    index = Index.open(tmp_path / "engine", SCHEMA)
    boats = [changed(n, f"b{n}", title="Cog") for n in range(20)]
    index.write(boats, 20)
    index.commit()
    index.write(boats[:5], 25)
    index.commit()
    assert not index.is_worn()
    index.write(boats[5:7], 27)
    index.commit()
    assert index.is_worn()
    index.compact()
    assert not index.is_worn()
    for number in range(30, 36):
        index.write([changed(number, f"b{number}", title="Cog")], number)
        index.commit()
    assert (index.segments, index.is_worn(), index.is_worn(1)) == (7, True, False)
    index.close()


async def test_a_worn_large_index_is_made_anew_while_it_is_searched_and_written(
    cell: TestCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, held = await made(cell)
    first = held.index
    meanwhile: list[dict[str, Any] | str] = [
        {"id": "new", "title": "Cog that comes"},
        "b40",
        {"id": "b59", "title": "Cog of other words"},
        "b21",
        {"id": "b21", "title": "Cog that is back"},
        "new",
        {"id": "last", "title": "Cog at last"},
    ]

    async def followed(*args: Any) -> int:
        last = await following.follow(*args)
        if meanwhile:
            one = meanwhile.pop(0)
            if isinstance(one, str):
                gone = await site.call(api.delete_documents, name="fleet", body=api.Ids((one,)))
                assert gone.deleted == 1
                change = gone.change
            else:
                put = await site.call(api.put_document, name="fleet", id=one["id"], body=one)
                change = put.change
            # By the one that is worn: searches see what was written.
            assert ("last" in await ids(site, "last", change=change)) == (not meanwhile)
            assert held.index is first
        return last

    monkeypatch.setattr(making, "follow", followed)
    await wear(site)

    async def is_new() -> bool:
        assert len(await ids(site, "cog", per_page=100)) >= COUNT - 1
        return held.index is not first and held.renewing is None

    await cell.until(is_new)
    assert not meanwhile
    wanted = sorted({*ALL, "last"} - {"b40"})
    assert sorted(await ids(site, "cog", per_page=100)) == wanted
    assert held.index.documents == len(wanted)
    assert await ids(site, "words") == ["b59"]
    assert await ids(site, "back") == ["b21"]
    assert not held.index.is_worn()
    assert held.generation == 1
    folder = cell.runtime.resources[Indexes].folder
    assert [one.name for one in folder.glob("*/*/coll_*")] == [held.index.folder.parent.name]
    # And it is left as it is for long.
    second, gone = held.index, api.Ids(tuple(ALL[:15]))
    deleted = await site.call(api.delete_documents, name="fleet", body=gone)
    assert sorted(await ids(site, change=deleted.change, per_page=100)) == wanted[15:]
    assert second.is_worn()
    assert not held.is_to_look_at()
    held.compact_after = 0.0
    await cell.until(is_renewed(held, second))
    assert sorted(await ids(site, per_page=100)) == wanted[15:]


def is_renewed(held: Any, before: Index) -> Any:
    async def look() -> bool:
        return held.index is not before and held.renewing is None

    return look


async def test_an_index_that_is_made_anew_in_as_many_segments_is_not_made_again(
    cell: TestCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where documents are so large that a portion is several. That is known after a restart,
    too."""
    monkeypatch.setattr(engine, "WORN_SEGMENTS", 0)
    site, held = await made(cell)
    indexes, first = cell.runtime.resources[Indexes], held.index
    (first.folder.parent / "whole").write_text("0")

    async def is_settled() -> bool:
        held.compact_after = 0.0
        if held.index is first:
            held.is_settled = False  # it may have been looked at before that
        return bool(held.is_settled)

    await cell.until(is_settled)
    second = held.index
    assert second is not first
    assert second.segments == first.segments == 1
    await indexes._close(held)
    held = await indexes.find(site.id, "fleet")
    await cell.until(is_settled)
    assert held.index.folder == second.folder


async def test_an_index_is_not_made_anew_where_the_disk_has_no_room_for_two(
    cell: TestCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, held = await made(cell)
    first, asked = held.index, list[Path]()

    def is_full(folder: Path) -> bool:
        asked.append(folder)
        return False

    with monkeypatch.context() as full:
        full.setattr(opened, "has_room_twice", is_full)
        await wear(site)

        async def was_asked() -> bool:
            held.compact_after = 0.0
            return len(asked) > 2

        await cell.until(was_asked)
        assert held.index is first
        assert set(asked) == {first.folder.parent}
    held.compact_after = 0.0
    await cell.until(is_renewed(held, first))


async def test_documents_are_counted_for_portions_and_not_their_changes(
    cell: TestCell, budgets: list[int]
) -> None:
    site = await cell.site()
    await site.call(api.put_collection, name="fleet", body=api.CollectionForm(SCHEMA))
    changes = [
        (await site.call(api.put_documents, name="fleet", raw=ndjson(*BOATS[:10]))).change
        for _ in range(5)
    ]
    assert len(await ids(site, "cog", change=changes[-1], per_page=100)) == 10
    assert budgets == [WRITER_BYTES]


async def test_one_worn_index_is_made_anew_at_a_time(
    cell: TestCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await cell.site()
    indexes = cell.runtime.resources[Indexes]
    begun: list[str] = []
    free, looks = asyncio.Event(), [0]

    async def held_up(one: Any, *args: Any) -> None:
        begun.append(one.whole.name)
        await free.wait()
        assert [each.whole.name for each in indexes._opened.values() if each.is_worn] == begun[-1:]
        await renew(one, *args)

    async def looked(*args: Any) -> Any:
        looks[0] += 1
        return await tending.worn_one(*args)

    monkeypatch.setattr(open_indexes, "renew", held_up)
    monkeypatch.setattr(open_indexes, "worn_one", looked)
    before: dict[str, Index] = {}
    for name in ("one", "other"):
        await ids(site, name=name, change=await filled(site, name))
        before[name] = (await indexes.find(site.id, name)).index
    for name in before:
        await wear(site, name)

    async def have_looked() -> bool:
        return bool(begun) and looks[0] > 20

    await cell.until(have_looked)
    looks[0] = 0
    await cell.until(have_looked)
    assert len(begun) == 1
    free.set()
    for name, index in before.items():
        held = await indexes.find(site.id, name)
        await cell.until(is_renewed(held, index))
    assert sorted(begun) == ["one", "other"]


async def test_a_worn_index_that_could_not_be_made_anew_is_left_for_long(
    cell: TestCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, held = await made(cell)
    tried: list[bool] = []

    async def refused(*args: Any) -> None:
        tried.append(held.is_worn)
        raise OSError("as a test has it")

    with monkeypatch.context() as failing:
        failing.setattr(open_indexes, "renew", refused)
        await wear(site)

        async def has_tried() -> bool:
            return bool(tried) and held.renewing is None

        await cell.until(has_tried)
        assert (held.is_worn, held.is_settled) == (False, False)
        assert held.compact_after > 0.0
    before, held.compact_after = held.index, 0.0
    await cell.until(is_renewed(held, before))
    assert set(tried) == {True}
