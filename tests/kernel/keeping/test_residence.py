"""A site that has moved, or is about to: no import and no erasure takes it for another one."""

import asyncio
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from hansa.assembly import SERVICES
from hansa.kernel import residence
from hansa.kernel.clock import MachineClock
from hansa.kernel.keeping import carrying, erasing, sitefile
from hansa.kernel.keeping.belongings import belongings
from hansa.kernel.keeping.manifest import KeepingRefused
from hansa.kernel.moving.protocol import Residence, Row
from hansa.kernel.site import slot_of
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import PLATFORM, Session, Storage
from hansa.testing.looking import soon
from tests.kernel.keeping.copying import copy_site, mentions, opened
from tests.kernel.keeping.generated import everything, fill

SITE = "site_gone"
ALL = belongings(SERVICES)
LIVE = [one for one in ALL if one.live]
HOME = [one for one in ALL if one.platform]
MOVED = [one for one in ALL if not one.platform]
CLOCK = MachineClock()


@pytest.fixture
def source(tmp_path: Path) -> Storage:
    """The cell that a site's file is of."""
    return SqliteStorage(tmp_path / "source.db", synchronous="OFF")


async def keep(storage: Storage, state: Residence, epoch: int) -> None:
    async def body(session: Session) -> None:
        await residence.write(session, SITE, Row(state, epoch, 0), 1)

    await storage.write(body, site=PLATFORM, deadline=soon(), across=True)


async def kept(storage: Storage) -> tuple[str, int] | None:
    async def body(session: Session) -> tuple[str, int] | None:
        row, _, _ = await residence.read(session, SITE)
        return None if row is None else (row.state, row.epoch)

    return await storage.read(body, site=PLATFORM, deadline=soon(), across=True)


async def brought(source: Storage, storage: Storage) -> None:
    await copy_site(source, storage, ALL, SITE, slot_of(SITE), CLOCK)


@pytest.mark.parametrize(
    ("state", "told"),
    [("here", "already"), ("moving", "sites move"), ("coming", "sites move"), ("gone", "another")],
)
def test_an_import_does_not_touch_a_site_that_has_moved(
    storage: Storage, source: Storage, state: Residence, told: str
) -> None:
    async def play() -> None:
        async with opened(storage, source):
            await fill(source, ALL, SITE, 3)
            await fill(storage, LIVE, SITE, 3)
            await keep(storage, state, 3)
            before = await everything(storage)
            with pytest.raises(KeepingRefused, match=told):
                await brought(source, storage)
            assert await everything(storage) == before

    asyncio.run(play())


def test_a_site_that_has_left_altogether_is_whole_after_its_import(
    storage: Storage, source: Storage
) -> None:
    async def play() -> None:
        async with opened(storage, source):
            await fill(source, ALL, SITE, 3)
            await keep(storage, "gone", 3)
            await brought(source, storage)
            assert await kept(storage) is None, "nothing says that it is not simply here"
            found = mentions(await everything(storage), SITE)
            assert {one.name for one in ALL} <= found.keys()

    asyncio.run(play())


def test_an_import_that_broke_off_is_erased_or_begun_again(
    storage: Storage, source: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise OSError("the process dies")

    async def play() -> None:
        async with opened(storage, source):
            await fill(source, ALL, SITE, 3)
            await keep(storage, "gone", 3)
            with monkeypatch.context() as patched, pytest.raises(OSError, match="dies"):
                patched.setattr(carrying, "enliven", broken)
                await brought(source, storage)
            assert await kept(storage) == ("coming", 0)
            await brought(source, storage)
            assert await kept(storage) is None
            await erasing.erase(storage, ALL, SITE, CLOCK)
            assert mentions(await everything(storage), SITE) == {"hansa_sites": 1}

    asyncio.run(play())


def test_an_import_that_was_overtaken_writes_nothing_more(
    storage: Storage, source: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two imports of one site at once: the later one has it."""
    whole = carrying.enliven

    async def play() -> None:
        async def overtaken(*arguments: object) -> None:
            monkeypatch.setattr(carrying, "enliven", whole)
            await brought(source, storage)
            await whole(*arguments)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

        async with opened(storage, source):
            await fill(source, ALL, SITE, 3)
            monkeypatch.setattr(carrying, "enliven", overtaken)
            with pytest.raises(KeepingRefused, match="somebody else"):
                await brought(source, storage)
            monkeypatch.setattr(carrying, "enliven", whole)
            with pytest.raises(KeepingRefused, match="already"):
                await brought(source, storage)
            assert len(mentions(await everything(storage), SITE)) >= len(ALL)

    asyncio.run(play())


@pytest.mark.parametrize("state", ["moving", "coming"])
def test_a_site_in_the_middle_of_a_move_is_not_erased(storage: Storage, state: Residence) -> None:
    async def play() -> None:
        async with opened(storage):
            await fill(storage, ALL, SITE, 3)
            await keep(storage, state, 3)
            before = await everything(storage)
            with pytest.raises(KeepingRefused, match="finish the move"):
                await erasing.erase(storage, ALL, SITE, CLOCK, rest=True)
            assert await everything(storage) == before

    asyncio.run(play())


def test_a_site_is_erased_in_the_cell_where_it_is(storage: Storage) -> None:
    async def play() -> None:
        async with opened(storage):
            await keep(storage, "gone", 3)
            with pytest.raises(KeepingRefused, match="the cell south: erase it there"):
                await erasing.erase(storage, ALL, SITE, CLOCK, cell="south", rest=True)
            await fill(storage, MOVED, SITE, 2)
            with pytest.raises(KeepingRefused, match="finish the move"):
                await erasing.erase(storage, ALL, SITE, CLOCK, rest=True)
            assert await kept(storage) == ("gone", 3)

    asyncio.run(play())


def test_its_home_forgets_a_site_that_is_erased_elsewhere_when_it_is_told(storage: Storage) -> None:
    async def play() -> None:
        async with opened(storage):
            await keep(storage, "gone", 3)
            await fill(storage, HOME, SITE, 2)
            with pytest.raises(KeepingRefused, match="--rest"):
                await erasing.erase(storage, ALL, SITE, CLOCK, cell="south")
            assert await kept(storage) == ("gone", 3)
            await erasing.erase(storage, ALL, SITE, CLOCK, cell="south", rest=True)
            assert mentions(await everything(storage), SITE) == {"hansa_sites": 1}
            assert await kept(storage) == ("erased", 3)

    asyncio.run(play())


def test_a_file_that_was_taken_before_a_move_leaves_the_home_as_it_is(
    storage: Storage, source: Storage
) -> None:
    """The home keeps where a site is, also when its rows have left."""

    async def play() -> None:
        async with opened(storage, source):
            await fill(source, ALL, SITE, 2)
            await fill(storage, HOME, SITE, 2)
            await keep(storage, "gone", 3)
            before = await everything(storage)
            with TemporaryFile() as file:
                await carrying.export(source, ALL, SITE, slot_of(SITE), file, CLOCK)
                reader = sitefile.Reader(file)
                with pytest.raises(KeepingRefused, match="sites move"):
                    await carrying.take_in(storage, ALL, reader, CLOCK, cell="local")
            assert await everything(storage) == before

    asyncio.run(play())
