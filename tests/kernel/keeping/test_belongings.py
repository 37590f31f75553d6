"""One site: all of its rows are copied to either engine, and erased, and no others."""

import asyncio
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from hansa.assembly import SERVICES
from hansa.kernel import tables as kernel
from hansa.kernel.clock import MachineClock
from hansa.kernel.columns import integer, text
from hansa.kernel.keeping import carrying, erasing, sitefile
from hansa.kernel.keeping.belongings import DELIVERIES, EVENTS, Belonging, belongings
from hansa.kernel.keeping.manifest import KeepingRefused
from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.service import Service
from hansa.kernel.site import slot_of
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import PLATFORM, Session, Storage
from hansa.testing.looking import soon
from hansa.testing.postgres import Dsns
from tests.kernel.keeping.copying import copy_site, mentions, opened
from tests.kernel.keeping.generated import everything, fill

SITE, OTHER = "site_gone", "site_stays"
ROWS = 620
ALL = belongings(SERVICES)
NOT_A_SITES = {
    "hansa_sites": "is what is known of sites that are not here",
}
"""Tables with a column of sites that are nobody's, and why."""


def names_a_site(column: str) -> bool:
    return column in ("site", "site_id", "tenant", "tenant_id")


def uncovered(services: Any) -> set[str]:
    tables = [table for one in services for table in one.tables.values()]
    tables += kernel.all_tables("sqlite")
    suspects = {t.name for t in tables if any(names_a_site(column.name) for column in t.columns)}
    suspects |= {table.name for table in tables if table.info["scope"] == "site"}
    return suspects - {one.name for one in belongings(services)} - NOT_A_SITES.keys()


def test_every_table_with_rows_of_sites_is_covered() -> None:
    assert uncovered(SERVICES) == set()
    assert {"sites_sites", EVENTS, "hansa_due", "commerce_orders"} <= {one.name for one in ALL}


def test_a_table_that_is_not_covered_is_found() -> None:
    late = Service("latecomers", owner="nobody", package=__name__)
    late.table("guests", text("name", primary=True))
    assert uncovered([late]) == set()
    late.table("stays", text("site_id", primary=True), integer("nights"), scope="platform")
    assert uncovered([late]) == {"latecomers_stays"}


def test_what_a_row_refers_to_comes_before_it() -> None:
    names = [one.name for one in ALL]
    for one in ALL:
        for reference in one.table.foreign_keys:
            assert names.index(reference.column.table.name) <= names.index(one.name)
    assert all(one.live for one in ALL[[one.live for one in ALL].index(True) :])


@pytest.fixture
def other(request: pytest.FixtureRequest, storage: Storage, tmp_path: Path) -> Storage:
    """An empty cell on the engine that `storage` is not on."""
    if storage.dialect == "postgresql":
        return SqliteStorage(tmp_path / "other.db", synchronous="OFF")
    dsns: Dsns = request.getfixturevalue("postgres_dsns")
    return PostgresStorage(dsns.application, owner_dsn=dsns.owner)


async def rows_of(storage: Storage, one: Belonging, site: str) -> list[dict[str, Any]]:
    """The rows of a site as they are the same in every cell: events by their place in line."""
    names = ", ".join(f'"{name}"' for name in one.names)

    async def body(session: Session) -> list[dict[str, Any]]:
        text = f"SELECT {names} FROM {one.name} WHERE {one.site} = '{site}'"
        rows = [dict(zip(one.names, row, strict=True)) for row in await session.fetch(text)]
        if one.name in (EVENTS, DELIVERIES):
            at = "SELECT id, position FROM hansa_events ORDER BY position"
            places = {row[1]: place for place, row in enumerate(await session.fetch(at))}
            for row in rows:
                row["position"] = places[row["position"]]
        for row in rows:
            row.pop(one.since, None)  # in the log of this cell since it is here
            for column in one.columns:
                if type(column.type).__name__ == "Boolean":
                    row[column.name] = bool(row[column.name])
        return sorted(rows, key=lambda row: [str(row[name]) for name in one.key])

    return await storage.read(body, site=PLATFORM, deadline=soon(), across=True)


async def shapes(storage: Storage) -> dict[str, list[dict[str, Any]]]:
    return {one.name: await rows_of(storage, one, SITE) for one in ALL}


def test_a_site_goes_to_the_other_engine_and_back_and_is_erased(
    storage: Storage, other: Storage
) -> None:
    async def play() -> None:
        async with opened(storage, other):
            await fill(storage, ALL, SITE, ROWS)
            await fill(storage, ALL, OTHER, 3)
            before = await shapes(storage)
            assert {name for name, rows in before.items() if not rows} == set()
            await copied(storage, other)
            assert await shapes(other) == before
            assert mentions(await everything(other), OTHER) == {}
            with pytest.raises(KeepingRefused, match="already"):
                await copied(storage, other)
            await erased(storage)
            with pytest.raises(KeepingRefused, match="never comes back"):
                await copied(other, storage)

    asyncio.run(play())


async def copied(source: Storage, target: Storage) -> None:
    await copy_site(source, target, ALL, SITE, slot_of(SITE), MachineClock())


def test_the_log_of_a_cell_is_not_older_behind_what_came_into_it(
    storage: Storage, other: Storage
) -> None:
    """Pruning looks for where the log may begin by halves: rows that were old when they came would
    take younger ones before them away too soon."""

    async def play() -> None:
        async with opened(storage, other):
            await fill(storage, ALL, SITE, 20)  # recorded in 1970
            await copied(storage, other)
            now_us = MachineClock().now_us()
            for one in ALL:
                if one.since:
                    found = await since(other, one)
                    assert len(found) >= 20
                    assert now_us - 60_000_000 < min(found) <= max(found) <= now_us

    asyncio.run(play())


async def since(storage: Storage, one: Belonging) -> list[int]:
    async def body(session: Session) -> list[int]:
        return [row[0] for row in await session.fetch(f"SELECT {one.since} FROM {one.name}")]

    return await storage.read(body, site=PLATFORM, deadline=soon(), across=True)


async def erased(storage: Storage) -> None:
    """Erase the site, and see that nothing else went, and that nothing of it stayed."""
    before = await everything(storage)
    gone = await erasing.erase(storage, ALL, SITE, MachineClock())
    after = await everything(storage)
    assert mentions(after, SITE) == {"hansa_sites": 1}
    for table, rows in before.items():
        kept = sorted(str(row) for row in rows if SITE not in str(row))
        noted = [str(row) for row in after[table] if "hansa_sites" not in table]
        assert sorted(noted) == (kept if table != "hansa_sites" else []), table
    assert sum(gone.values()) >= ROWS * (len(ALL) - 2)
    with pytest.raises(KeepingRefused, match="erased already"):
        await erasing.erase(storage, ALL, SITE, MachineClock())


def test_an_erasure_that_breaks_off_goes_on(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        async with opened(storage):
            await fill(storage, ALL, SITE, 600)
            whole, count = erasing._erase_batch, 0

            async def broken(*arguments: Any) -> Any:
                nonlocal count
                count += 1
                if count == 20:
                    raise OSError("the process dies")
                return await whole(*arguments)

            monkeypatch.setattr(erasing, "_erase_batch", broken)
            with pytest.raises(OSError, match="dies"):
                await erasing.erase(storage, ALL, SITE, MachineClock())
            with pytest.raises(KeepingRefused, match="not whole"), TemporaryFile() as out:
                await carrying.export(storage, ALL, SITE, slot_of(SITE), out, MachineClock())
            await erasing.erase(storage, ALL, SITE, MachineClock())
            assert mentions(await everything(storage), SITE) == {"hansa_sites": 1}

    asyncio.run(play())


def test_an_import_that_breaks_off_is_begun_again(
    storage: Storage, other: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        async with opened(storage, other):
            await fill(storage, ALL, SITE, 300)
            for part in ("_write", "enliven"):
                whole, count = getattr(carrying, part), 0

                async def broken(*arguments: Any, _whole: Any = whole) -> Any:
                    nonlocal count
                    count += 1
                    if count == 5 or _whole.__name__ == "enliven":
                        raise OSError("the process dies")
                    return await _whole(*arguments)

                monkeypatch.setattr(carrying, part, broken)
                with pytest.raises(OSError, match="dies"):
                    await copied(storage, other)
                monkeypatch.setattr(carrying, part, whole)
                live = {one.name for one in ALL if one.live}
                assert live & mentions(await everything(other), SITE).keys() == set()
            await copied(storage, other)
            assert await shapes(other) == await shapes(storage)

    asyncio.run(play())


def test_a_host_of_another_site_keeps_a_site_out(storage: Storage, other: Storage) -> None:
    async def play() -> None:
        async with opened(storage, other):
            await fill(storage, ALL, SITE, 5)
            await fill(other, [one for one in ALL if one.platform], OTHER, 3)

            async def take(session: Session) -> None:
                await session.run(
                    "UPDATE sites_hosts SET host = 'host-1.site-gone' WHERE host LIKE 'host-1.%'"
                )

            await other.write(take, site=PLATFORM, deadline=soon(), across=True)
            with pytest.raises(KeepingRefused, match="Nothing of it is here"):
                await copied(storage, other)
            assert mentions(await everything(other), SITE) == {}

    asyncio.run(play())


def test_what_this_release_does_not_know_is_refused(storage: Storage, tmp_path: Path) -> None:
    async def play() -> None:
        async with opened(storage):
            await fill(storage, ALL, SITE, 2)
            with TemporaryFile() as out:
                await carrying.export(storage, ALL, SITE, slot_of(SITE), out, MachineClock())
                source = sitefile.Reader(out)
                fewer = [one for one in ALL if one.name != "commerce_sales"]
                with pytest.raises(KeepingRefused, match="does not know"):
                    await carrying.take_in(storage, fewer, source, MachineClock(), cell="local")
                whole = out.seek(0, 2)
                for cut in (whole - 1, whole - 80, 200, 10, 0):
                    out.truncate(cut)
                    with pytest.raises(KeepingRefused):
                        sitefile.Reader(out)
            with pytest.raises(KeepingRefused, match="no site"), TemporaryFile() as out:
                await carrying.export(storage, ALL, "site_x", 1, out, MachineClock())

    asyncio.run(play())
