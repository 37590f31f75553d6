"""Shipping with a depot that fails, a disk that is not ours alone, and a file that was replaced."""

import errno
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import apsw
import pytest

from hansa.kernel.keeping import claim, replay, shipment, shipping
from hansa.kernel.keeping.backup import Kept
from hansa.kernel.keeping.depot import FolderDepot
from hansa.kernel.keeping.manifest import KeepingRefused
from hansa.kernel.keeping.shipping import Shipper
from hansa.kernel.schedule import to_us
from tests.kernel.cells import HandClock

DAY_S = 86_400


class Shaky(FolderDepot):
    """A folder that cannot be reached for a while."""

    gone = False
    asked = 0

    def put(self, name: str, file: Path) -> None:
        self.asked += 1
        if self.gone:
            raise OSError("gone")
        super().put(name, file)


class Shop:
    """A file that is written, and what is shipped of it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "hansa.db"
        self.rows = self._connect()
        self.rows.execute("CREATE TABLE sold (number INTEGER PRIMARY KEY, what BLOB)")
        self.clock = HandClock()
        self.folder = folder
        self.depot = Shaky(folder / "depot")
        self.spool = folder / "spool"
        self.spool.mkdir()
        self.shipper = self.ships("cell_a")

    def ships(self, cell: str) -> Shipper:
        return Shipper(self.file, self.depot, self.clock, self.spool, cell=cell, keep_s=2 * DAY_S)

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.file))
        connection.pragma("journal_mode", "wal")
        return connection

    def sell(self, count: int = 1) -> None:
        for _ in range(count):
            self.rows.execute("INSERT INTO sold (what) VALUES (randomblob(5000))")
        self.clock.add(1)

    def sold(self, file: Path | None = None) -> list[tuple[int, bytes]]:
        connection = apsw.Connection(str(file or self.file))
        try:
            return list(connection.execute("SELECT number, what FROM sold ORDER BY number"))
        finally:
            connection.close()

    def generations(self) -> list[str]:
        names = {one.generation for one in shipment.parse(self.depot.names())}
        return sorted(names)

    def restored(self, at_us: int | None = None) -> list[tuple[int, bytes]]:
        folder = self.folder / "restored"
        shutil.rmtree(folder, ignore_errors=True)
        replay.restore(self.depot, replay.find(self.depot, at_us), Kept(folder))
        return self.sold(folder / "hansa.db")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setattr("hansa.kernel.keeping.depot.AGAIN_S", 0)
    one = Shop(tmp_path)
    yield one
    one.shipper._hold(None)
    one.rows.close()


def test_every_instant_can_be_had_again(shop: Shop) -> None:
    states: list[tuple[int, list[tuple[int, bytes]]]] = []
    for _ in range(5):
        shop.sell(3)
        shop.shipper.once()
        states.append((shop.clock.at_us, shop.sold()))
    assert len(shop.generations()) == 1
    for at_us, sold in states:
        assert shop.restored(at_us) == sold


def test_a_depot_out_of_reach_is_waited_for(shop: Shop) -> None:
    shop.shipper.once()
    shop.depot.gone = True
    for _ in range(3):
        shop.sell()
        shop.shipper.once()
    assert len(list(shop.spool.iterdir())) == 3
    shop.depot.gone = False
    shop.clock.add(shipping.AGAIN_MAX_S)
    shop.shipper.once()
    assert list(shop.spool.iterdir()) == []
    assert len(shop.generations()) == 1
    assert shop.restored() == shop.sold()


def test_a_depot_that_fails_is_asked_ever_less_often_and_at_last_each_minute(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansa.kernel.keeping.depot.TRIES", 1)
    shop.shipper.once()
    shop.depot.gone = True
    shop.sell()
    asked = []
    for second in range(200):
        before = shop.depot.asked
        shop.shipper.once()
        if shop.depot.asked > before:
            asked.append(second)
        shop.clock.add(1)
    assert asked == [0, 1, 3, 7, 15, 31, 63, 123, 183]


def test_a_depot_out_of_reach_as_it_begins_is_waited_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hansa.kernel.keeping.depot.TRIES", 1)
    shop.depot.gone = True
    asked = []
    for second in range(70):
        before = shop.depot.asked
        shop.sell()
        shop.shipper.once()
        if shop.depot.asked > before:
            asked.append(second)
    assert asked == [0, 1, 3, 7, 15, 31, 63]
    assert list(shop.spool.iterdir()) == [], "the file is not copied in vain"
    told = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert told[0] == (
        "nothing is shipped yet: the depot cannot be reached, asking it again in 1 s: gone"
    )
    assert len(told) == len(asked)
    shop.depot.gone = False
    shop.clock.add(shipping.AGAIN_MAX_S)
    shop.shipper.once()
    assert shop.restored() == shop.sold()


def test_a_stop_tries_once_more_whatever_failed_before(shop: Shop) -> None:
    shop.depot.gone = True

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            shop.sell()
            shop.depot.gone = False
            return True

    shop.shipper.run(1, Stop())
    assert shop.restored() == shop.sold()


def test_what_waits_is_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "PENDING_BYTES_MAX", 20_000)
    shop.shipper.once()
    shop.depot.gone = True
    for _ in range(10):
        shop.sell(3)
        shop.shipper.once()
        assert sum(one.stat().st_size for one in shop.spool.iterdir()) <= 200_000
    shop.depot.gone = False
    shop.sell()
    shop.clock.add(shipping.AGAIN_MAX_S)
    shop.shipper.once()
    shop.shipper.once()
    assert len(shop.generations()) == 2
    assert shop.restored() == shop.sold()


def test_a_full_disk_keeps_nothing_of_what_could_not_be_written(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last room is the cell's. A beginning copies the whole file, so it waits between two."""
    whole, tries = shipment._lines, 0

    def full(head: shipment.Head, pages: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
        nonlocal tries
        tries += 1
        written = 0
        for piece in whole(head, pages):
            yield piece
            written += len(piece)
            if written > 10_000:
                raise OSError(errno.ENOSPC, "No space left on device")

    shop.sell(5)
    shop.shipper.once()
    monkeypatch.setattr(shipment, "_lines", full)
    for _ in range(200):
        shop.sell(3)
        shop.shipper.once()
        assert list(shop.spool.iterdir()) == []
    assert tries < 10, "200 s: it waits longer each time"
    monkeypatch.setattr(shipment, "_lines", whole)
    shop.clock.add(shipping.AGAIN_MAX_S)
    for _ in range(2):
        shop.sell()
        shop.shipper.once()
    assert len(shop.generations()) == 2
    assert shop.restored() == shop.sold()
    monkeypatch.setattr(shipment, "_lines", full)
    shop.sell(3)
    shop.shipper.once()
    shop.clock.add(shipping.AGAIN_S)
    tries = 0
    shop.shipper.once()
    assert tries == 1, "what went well since counts"


def test_the_log_does_not_grow_for_ever(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "ANEW_BYTES", 100_000)
    monkeypatch.setattr(Shipper, "_is_over", lambda shipper, known: False)
    shop.rows.wal_autocheckpoint(0)
    for _ in range(50):
        shop.sell(10)
        shop.shipper.once()
    assert shop.file.with_name("hansa.db-wal").stat().st_size < 1_000_000
    assert len(shop.generations()) == 1
    assert shop.restored() == shop.sold()


def test_another_file_in_the_place_has_a_new_generation_begin(shop: Shop) -> None:
    shop.sell(5)
    shop.shipper.once()
    shop.rows.close()
    for name in ("hansa.db", "hansa.db-wal", "hansa.db-shm"):
        if (shop.folder / name).exists():
            os.rename(shop.folder / name, shop.folder / f"old-{name}")
    shop.rows = shop._connect()
    shop.rows.execute("CREATE TABLE sold (number INTEGER PRIMARY KEY, what BLOB)")
    shop.sell()
    shop.shipper.once()
    shop.shipper.once()
    assert len(shop.generations()) == 2
    assert shop.restored() == shop.sold()


def test_a_day_begins_a_generation_and_the_old_ones_go(shop: Shop) -> None:
    for _ in range(6):
        shop.sell()
        shop.shipper.once()
        shop.clock.add(DAY_S + 1)
    shop.sell()
    shop.shipper.once()
    assert len(shop.generations()) == 3
    assert shop.restored() == shop.sold()
    shop.restored(shop.clock.at_us - 2 * DAY_S * 1_000_000)


def test_a_depot_takes_no_second_cell(shop: Shop) -> None:
    shop.sell()
    shop.shipper.once()
    there = {name: b"".join(shop.depot.pieces(name)) for name in shop.depot.names()}
    with pytest.raises(KeepingRefused, match="is of another cell"):
        shop.ships("cell_b").once()
    assert {name: b"".join(shop.depot.pieces(name)) for name in shop.depot.names()} == there
    shop.sell()
    shop.shipper.once()
    assert shop.restored() == shop.sold()


@pytest.mark.parametrize("said", [b"", b"[]", b'{"format":2}', b'{"format":1}', b"\xff"])
def test_a_depot_of_which_it_is_not_known_whose_it_is_is_left_alone(
    shop: Shop, said: bytes
) -> None:
    shop.shipper.once()
    (shop.folder / "depot" / claim.NAME).write_bytes(said)
    with pytest.raises(KeepingRefused, match="The depot"):
        shop.ships("cell_a").once()
    with pytest.raises(KeepingRefused, match="The depot"):
        shop.restored()
    (shop.folder / "depot" / claim.NAME).unlink()
    with pytest.raises(KeepingRefused, match="of which cell"):
        shop.ships("cell_a").once()
    assert shop.restored() == shop.sold()


def test_of_two_that_ship_to_one_depot_the_first_ends(shop: Shop) -> None:
    shop.sell()
    shop.shipper.once()
    second = shop.ships("cell_a")
    assert second.reach()
    shop.sell()
    with pytest.raises(KeepingRefused, match="Another process"):
        shop.shipper.once()
    second.once()
    second._hold(None)
    assert len(shop.depot.names()) == 3, "a first shipment of each, and whose they are"
    assert shop.restored() == shop.sold()


def test_rows_of_another_cell_are_not_restored(shop: Shop) -> None:
    shop.rows.execute("CREATE TABLE hansa_cell (cell TEXT, epoch INTEGER, position INTEGER)")
    name = claim.named(shop.file)
    assert claim.named(shop.file) == name
    shop.shipper.once()
    with pytest.raises(KeepingRefused, match=f"is of {name}, and the depot is of cell_a"):
        shop.restored()


@pytest.mark.parametrize("gone", ["*", "*.gz", claim.NAME])
def test_a_depot_that_was_taken_away_is_filled_anew(
    shop: Shop, gone: str, caplog: pytest.LogCaptureFixture
) -> None:
    shop.shipper.once()
    shop.sell()
    shop.shipper.once()
    for one in (shop.folder / "depot").glob(gone):
        one.unlink()
    shop.sell()
    shop.shipper.once()
    assert "is gone from the depot" in caplog.text
    shop.shipper.once()
    assert shop.restored() == shop.sold()


def test_a_depot_that_was_taken_away_is_filled_anew_when_nothing_changes(shop: Shop) -> None:
    shop.shipper.once()
    shutil.rmtree(shop.folder / "depot")
    shop.shipper.once()
    assert shop.depot.names() == []
    shop.clock.add(shipping.LOOK_S)
    shop.shipper.once()
    shop.shipper.once()
    assert shop.restored() == shop.sold()


def test_a_hole_is_told_and_what_was_before_it_is_restored_only_when_asked_for(shop: Shop) -> None:
    states: list[list[tuple[int, bytes]]] = []
    for _ in range(5):
        shop.sell()
        shop.shipper.once()
        states.append(shop.sold())
    missing = shipment.parse(shop.depot.names())[2]
    shop.depot.erase(missing.name)
    with pytest.raises(KeepingRefused, match=rf"misses {missing.generation}\.00000002,") as told:
        shop.restored()
    at = str(told.value).rpartition("--at ")[2]
    assert shop.restored(to_us(datetime.fromisoformat(at))) == states[1]
