"""Indexes are looked after: nothing of what is gone stays, what is damaged or of other rows is made
anew, and nobody meets two of them in one folder."""

import asyncio
import fcntl
import os
import resource
import shutil
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from hansa.assembly import Place
from hansa.kernel import machine
from hansa.kernel.keeping import erasing
from hansa.kernel.keeping.belongings import belongings
from hansa.kernel.problems import Problem
from hansa.platform.search import api, search
from hansa.platform.search import indexes as open_indexes
from hansa.platform.search.api.collections import Whole
from hansa.platform.search.engine.index import Index, IndexUnusable, NotWritten
from hansa.platform.search.folders import GONE_S, Folders
from hansa.platform.search.indexes import Indexes
from hansa.platform.search.making import begun, newest
from hansa.platform.search.opened import Opened
from hansa.platform.search.searchers import SEARCHES_MAX
from hansa.platform.search.writers import WRITERS_MAX, Writers
from hansa.testing import TestCell, TestSite
from tests.platform.search.engine.shelf import change as changed
from tests.platform.search.test_service import SCHEMA, fleet, ids, ndjson

WIDER = api.Schema((*SCHEMA.fields, api.Field("year", "int", facet=True)), title="title")


@pytest.fixture
def cell(place: Place) -> TestCell:
    return TestCell(search, place=place)


def indexes_of(cell: TestCell) -> Indexes:
    indexes: Indexes = cell.runtime.resources[Indexes]
    return indexes


async def searched(cell: TestCell) -> tuple[TestSite, Indexes, Opened]:
    """A site with boats whose index is open and has all of them."""
    site = await cell.site()
    await ids(site, change=await fleet(site))
    indexes = indexes_of(cell)
    return site, indexes, await indexes.find(site.id, "fleet")


async def put(site: TestSite, *names: str) -> int:
    """Put a document of each name by itself; return the number of the last change."""
    written = [
        await site.call(api.put_document, name="fleet", id=one, body={"title": f"A {one}"})
        for one in names
    ]
    return written[-1].change


async def restore(cell: TestCell) -> None:
    """Have the rows be as they were after the first of some documents."""
    for sql in (
        "UPDATE search_collections SET last_change = 1",
        "DELETE FROM search_documents WHERE change > 1",
        "DELETE FROM hansa_events WHERE seq > 2 AND aggregate LIKE 'search:%'",
        "UPDATE hansa_aggregates SET seq = 2 WHERE aggregate LIKE 'search:%'",
    ):
        await cell.run(sql)


async def test_rows_that_are_restored_beside_an_open_index_take_its_place(cell: TestCell) -> None:
    site = await cell.site()
    await site.call(api.put_collection, name="fleet", body=api.CollectionForm(SCHEMA))
    change = await put(site, "cog", "hulk", "barge")
    assert await ids(site, "barge", change=change) == ["barge"]
    await restore(cell)
    await put(site, "galley", "carvel", "lighter")

    async def is_right() -> bool:
        found = await ids(site)
        assert "cog" in found  # by the old one, then the new
        return sorted(found) == ["carvel", "cog", "galley", "lighter"]

    await cell.until(is_right)
    change = await put(site, "hulk")
    assert await ids(site, "hulk", change=change) == ["hulk"]
    folder = indexes_of(cell).folder
    await cell.until(is_so(lambda: len(list(folder.glob("*/*/coll_*"))) == 1))


def test_an_index_of_rows_that_were_restored_and_written_again_is_made_anew(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the number of a change that has happened again, otherwise."""

    async def run() -> None:
        async with TestCell(search, place=place) as cell:
            site = await cell.site()
            await site.call(api.put_collection, name="fleet", body=api.CollectionForm(SCHEMA))
            change = await put(site, "cog", "hulk", "barge")
            assert await ids(site, "barge", change=change) == ["barge"]
        async with TestCell(place=place) as cell:
            await restore(cell)
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("HANSA_SEARCH", str(tmp_path / "elsewhere"))
            async with TestCell(search, place=place) as cell:
                change = await put(TestSite(cell, site.id), "galley", "carvel", "lighter")
                assert change == 4
        async with TestCell(search, place=place) as cell:
            site = TestSite(cell, site.id)

            async def is_right() -> bool:
                try:
                    found = await ids(site, change=change)
                except Problem as problem:
                    assert problem.slug in ("index-behind", "index-not-ready")
                    return False
                assert sorted(found) == ["carvel", "cog", "galley", "lighter"]
                return True

            await cell.until(is_right)

    asyncio.run(run())


async def test_an_open_index_of_which_deletions_are_forgotten_is_made_anew(cell: TestCell) -> None:
    site = await cell.site()
    change = await fleet(site)
    assert await ids(site, "anchor", change=change) == ["hulk"]
    await cell.run("DELETE FROM search_documents WHERE id = ?1", "hulk")
    await cell.run("UPDATE search_collections SET last_change = 5, forgotten_change = 4")
    await put(site, "galley")

    async def is_forgotten() -> bool:
        found = await ids(site)
        assert "cog" in found  # by the old one, then the new
        return sorted(found) == ["barge", "cog", "galley"]

    await cell.until(is_forgotten)


async def test_a_damaged_index_is_made_anew_and_no_error_for_ever(cell: TestCell) -> None:
    site = await cell.site()
    change = await fleet(site)
    await ids(site, change=change, per_page=0)
    store = next(indexes_of(cell).folder.rglob("*.store"))
    with store.open("r+b") as file:  # the same bytes are mapped
        content = file.read()
        file.seek(0)
        file.write(bytes(byte ^ 0x5A for byte in content))
    with pytest.raises(Problem) as refused:
        await ids(site, "anchor")
    assert refused.value.slug == "index-not-ready"
    assert await ids(site, "anchor", per_page=0) == []  # what it can answer, it answers

    async def is_found() -> bool:
        try:
            return await ids(site, "anchor") == ["hulk"]
        except Problem as problem:
            assert problem.slug == "index-not-ready"
            return False

    await cell.until(is_found)


async def test_an_index_that_is_being_closed_is_not_opened_meanwhile(cell: TestCell) -> None:
    site, indexes, opened = await searched(cell)
    await site.call(api.put_collection, name="other", body=api.CollectionForm(SCHEMA))
    async with indexes._writers.turn(opened.index):
        closing = asyncio.create_task(indexes._close(opened))
        await cell.until(is_so(lambda: opened.is_closed))
        found = asyncio.create_task(ids(site, "anchor"))
        await cell.until(is_so(lambda: indexes._opening))
        assert await ids(site, name="other") == []  # opened in as many steps, begun later
        assert not found.done()
    await closing
    assert await found == ["hulk"]
    assert (await indexes.find(site.id, "fleet")).index is not opened.index


def is_so(holds: Any) -> Any:
    async def look() -> bool:
        return bool(holds())

    return look


async def test_an_index_that_was_closed_is_not_written_by_who_waited_for_it(cell: TestCell) -> None:
    _, indexes, opened = await searched(cell)
    async with indexes._writers.turn(opened.index):
        closing = asyncio.create_task(indexes._close(opened))
        waiting = asyncio.create_task(indexes._catch_up(opened))
        await cell.until(is_so(lambda: opened.is_closed))
    await asyncio.gather(closing, waiting)
    assert opened.index not in indexes._writers._idle


async def test_a_name_that_was_looked_up_while_it_was_given_away_is_right(cell: TestCell) -> None:
    site = await cell.site()
    await fleet(site)
    await site.call(api.put_collection, name="other", body=api.CollectionForm(SCHEMA))
    await site.call(api.put_documents, name="other", raw=ndjson({"id": "x", "title": "cog"}))
    indexes = indexes_of(cell)
    await site.call(api.put_alias, name="boats", body=api.Target("fleet"))
    for number in range(12):
        target, wanted = (("other", ["x"]), ("fleet", ["cog"]))[number % 2]
        for opened in list(indexes._opened.values()):
            await indexes._close(opened)
        body = api.Target(target)
        await asyncio.gather(
            indexes.find(site.id, "boats"),
            site.call(api.put_alias, name="boats", body=body),
            indexes.find(site.id, "boats"),
        )

        async def is_right(wanted: list[str] = wanted) -> bool:
            return await ids(site, "cog", name="boats", typo=False) == wanted

        await cell.until(is_right)


async def test_nothing_is_left_of_an_index_that_was_being_made_of_what_is_gone(
    cell: TestCell, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site, indexes, opened = await searched(cell)
    name = f"*/*/{opened.whole.id}-"
    async with AsyncExitStack() as places:
        for number in range(WRITERS_MAX):  # so that the new one waits for a place
            other = Index.open(tmp_path / f"other{number}", SCHEMA)
            await places.enter_async_context(indexes._writers.turn(other))
        await site.call(api.put_collection, name="fleet", body=api.CollectionForm(WIDER))
        await cell.until(is_so(lambda: list(indexes.folder.glob(f"{name}2/engine/state.json"))))
        await site.call(api.remove_collection, name="fleet")
        await cell.until(is_so(lambda: opened.is_closed))
    await cell.until(is_so(lambda: opened.renewing is None))
    await cell.until(is_so(lambda: not list(indexes.folder.glob(f"{name}*"))))
    assert "cannot keep up" not in caplog.text


async def test_what_an_index_began_that_does_not_open_has_ended(cell: TestCell) -> None:
    site, indexes, before = await searched(cell)
    await indexes._close(before)
    (before.index.folder.parent / "point.json").unlink()
    opened = newest(indexes._folders, site.id, before.slot, before.whole)

    async def go_on() -> None:
        while not opened.is_closed:
            await asyncio.to_thread(int)

    opened.renewing = begun = asyncio.create_task(go_on())
    try:
        with pytest.raises(IndexUnusable, match="nobody knows"):
            await indexes._complete(opened)
        assert begun.done()
    finally:
        begun.cancel()


async def test_an_index_that_cannot_be_made_anew_is_tried_less_and_less(
    cell: TestCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, indexes, opened = await searched(cell)
    monkeypatch.setattr(open_indexes, "TROUBLE_S", 0.01)
    monkeypatch.setattr(open_indexes, "PAUSE_MAX_S", 0.03)
    home, away = opened.index.folder.parents[1], indexes.folder.parent / "away"
    home.rename(away)
    home.touch()  # nothing can be made in it
    indexes._spoil(opened, OSError("as a test has it"))
    indexes._look_after(opened)
    paused: list[float] = []

    async def is_longest() -> bool:
        paused.append(opened.pause_s)
        return opened.pause_s == 0.03

    await cell.until(is_longest)
    assert paused == sorted(paused)
    home.unlink()
    away.rename(home)
    await cell.until(is_so(lambda: not opened.is_spoilt and opened.renewing is None))
    assert opened.pause_s == 0.0
    # Who closes it waits for no pause.
    monkeypatch.setattr(open_indexes, "TROUBLE_S", 3_000.0)
    monkeypatch.setattr(open_indexes, "PAUSE_MAX_S", 3_000.0)
    home.rename(away)
    home.touch()
    indexes._spoil(opened, OSError("as a test has it"))
    indexes._look_after(opened)
    await cell.until(is_so(lambda: opened.is_pausing))
    home.unlink()
    away.rename(home)
    async with asyncio.timeout(60):
        await indexes._close(opened)
    assert await ids(site, "anchor") == ["hulk"]


def test_nothing_is_left_of_an_index_that_could_not_be_begun(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    whole = Whole(
        "coll_x", "fleet", SCHEMA, api.Curation(), None, "", 0, True, 1, 1, 0, 0
    )  # fmt: skip
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # no file has room for a byte
    try:
        with pytest.raises(OSError, match="too large"):
            begun(folders, "site_x", 0, whole)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [one for one in tmp_path.rglob("*") if one.name.startswith("coll_x")] == []


async def test_a_search_that_waited_finds_what_there_was_when_it_was_asked(cell: TestCell) -> None:
    """Its filter was read then: it says nothing of the documents that come meanwhile."""
    site, indexes, opened = await searched(cell)
    indexes._searchers._pace.note(opened.whole.id, 1.0)
    free = threading.Event()
    try:
        for _ in range(SEARCHES_MAX):
            indexes._searchers._threads.submit(free.wait)
        asked = asyncio.create_task(indexes.search(opened, api.SearchRequest(), None))
        change = await put(site, "galley")
        assert await opened.wait_for(change, machine.monotonic() + 30)
        assert not asked.done()
    finally:
        free.set()
    assert (await asked).found == 3


async def test_who_may_not_search_any_more_waits_for_no_writer(cell: TestCell) -> None:
    site = await cell.site()
    form = api.CollectionForm(SCHEMA, open_filter="")
    await site.call(api.put_collection, name="fleet", body=form)
    change = await put(site, "cog")
    assert await ids(site, "cog", change=change) == ["cog"]
    indexes = indexes_of(cell)
    opened = await indexes.find(site.id, "fleet")
    async with indexes._writers.turn(opened.index):
        await put(site, "hulk")
        await cell.until(is_so(lambda: opened.following is not None))
        await site.call(api.put_collection, name="fleet", body=api.CollectionForm(SCHEMA))

        async def is_closed_to_visitors() -> bool:
            return not (await indexes.find(site.id, "fleet")).is_open

        await cell.until(is_closed_to_visitors)
        await site.call(api.remove_collection, name="fleet")

        async def is_unknown() -> bool:
            try:
                await ids(site, "cog")
            except Problem as problem:
                return problem.slug == "unknown-collection"
            return False

        await cell.until(is_unknown)
        assert opened.following is not None


def test_what_was_begun_while_indexes_are_closed_ends(place: Place) -> None:
    async def run() -> None:
        async with TestCell(search, place=place) as cell:
            site = await cell.site()
            change = await fleet(site)
            await ids(site, change=change)
            await site.call(api.put_collection, name="fleet", body=api.CollectionForm(WIDER))
            await put(site, "galley")
            indexes = indexes_of(cell)
            indexes._spawn(begin_another(indexes))
        assert not indexes._tasks
        async with TestCell(search, place=place) as cell:
            assert len(await ids(TestSite(cell, site.id))) == 4

    async def begin_another(indexes: Indexes) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            indexes._spawn(asyncio.Event().wait())

    asyncio.run(run())


def test_the_index_of_a_collection_that_was_removed_while_it_was_closed_goes(place: Place) -> None:
    async def run() -> None:
        async with TestCell(search, place=place) as cell:
            site, other = await cell.site("one"), await cell.site("other")
            for one in (site, other):
                change = await fleet(one)
                assert await ids(one, "anchor", change=change) == ["hulk"]
            folder = indexes_of(cell).folder
            for one in (site, other):
                assert list(folder.glob(f"*/{one.id}/coll_*"))
        async with TestCell(search, place=place) as cell:
            await TestSite(cell, site.id).call(api.remove_collection, name="fleet")
            await indexes_of(cell).sweep()
            await indexes_of(cell).sweep()
            assert not list(folder.glob(f"*/{site.id}"))
            assert await ids(TestSite(cell, other.id), "anchor") == ["hulk"]

    asyncio.run(run())


async def test_an_open_index_of_a_site_that_was_erased_goes(cell: TestCell) -> None:
    site, other = await cell.site("one"), await cell.site("other")
    for one in (site, other):
        change = await fleet(one)
        assert await ids(one, "anchor", change=change) == ["hulk"]
    indexes = indexes_of(cell)
    assert list(indexes.folder.glob(f"*/{site.id}/coll_*"))
    rows = belongings(cell.runtime.services)
    await erasing.erase(cell.storage, rows, site.id, cell.runtime.clock)
    await indexes.sweep()
    assert not list(indexes.folder.glob(f"*/{site.id}/*"))
    assert not [one for one in indexes._opened.values() if one.site == site.id]
    assert await ids(other, "anchor") == ["hulk"]


def test_what_a_process_left_that_is_gone_for_long_goes(tmp_path: Path) -> None:
    own = Folders(tmp_path)
    own.open()
    now_s = (tmp_path / "0.lock").stat().st_mtime
    for number in (1, 2, 3):
        (tmp_path / str(number) / "0007" / "site_x" / "coll_y-1").mkdir(parents=True)
        lock = tmp_path / f"{number}.lock"
        lock.touch()
        if number != 3:
            os.utime(lock, (0, lock.stat().st_mtime - GONE_S - 1))
    with (tmp_path / "2.lock").open() as other:  # it runs for long
        fcntl.flock(other, fcntl.LOCK_EX)
        own.sweep(now_s)
    left = sorted(one.name for one in tmp_path.iterdir() if one.is_dir())
    assert left == ["0", "2", "3"]
    own.close()


def test_an_index_that_cannot_rest_is_no_fault_of_who_needs_its_place(tmp_path: Path) -> None:
    async def run() -> None:
        writers = Writers(asyncio.to_thread, most=1)
        one, other = (Index.open(tmp_path / name / "engine", SCHEMA) for name in ("one", "other"))
        document = changed(1, "cog", title="A cog")
        async with writers.turn(one):
            one.write([document], 1)
            one.commit()
        shutil.rmtree(one.folder)
        async with writers.turn(other):
            other.write([document], 1)
            other.commit()
        assert other.checkpoint == 1
        async with writers.turn(one):
            with pytest.raises(NotWritten):
                one.write([document], 2)
        await writers.shut(other)

    asyncio.run(run())
