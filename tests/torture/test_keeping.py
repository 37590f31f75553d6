"""Copies of a cell under load, and what is shipped of one: what is restored keeps every promise."""

import asyncio
import random
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import apsw
import pytest

from hansa.assembly import SERVICES, Place
from hansa.kernel import migrating
from hansa.kernel.clock import MachineClock
from hansa.kernel.keeping import replay, shipment
from hansa.kernel.keeping.backup import Kept
from hansa.kernel.keeping.belongings import belongings
from hansa.kernel.keeping.depot import FolderDepot
from hansa.kernel.keeping.shipment import Shipment
from hansa.kernel.schedule import from_us
from hansa.kernel.site import slot_of
from hansa.testing.postgres import Cluster, Dsns
from hansa.testing.schema import make_tables
from hansa.torture import load
from hansa.torture.check import look, violations
from hansa.torture.load import TORTURED, Scene
from hansa.torture.run import Load
from hansa.torture.service import torture
from tests.cli.server import ROOT, hansa
from tests.kernel.keeping.copying import copy_site

UP_S = 60
ENOUGH = 150
"""Answers that make a cell worth copying."""


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    folder = tmp_path / "cell"
    if request.param == "sqlite":
        return Place(folder)
    dsns: Dsns = request.getfixturevalue("postgres_dsns")
    return Place(folder, dsns.application, dsns.owner)


@contextmanager
def loaded(place: Place, scene: Scene, processes: int) -> Iterator[None]:
    """Have a cell under load, and kill all who load it at the end."""
    seed = secrets.randbits(31)
    print(f"seed {seed}")
    one = Load(place, scene, processes, random.Random(seed), "", powerless=False)
    one.start()
    try:
        assert one.wait_up() == []
        yield
    finally:
        one.kill()


def journals(folder: Path) -> dict[str, bytes]:
    """What the workers were promised so far."""
    return {file.name: file.read_bytes() for file in sorted(folder.glob("journal-*.ndjson"))}


async def until(holds: Callable[[], bool]) -> None:
    end = monotonic() + UP_S
    while not holds():
        assert monotonic() < end, "the condition never held"
        await asyncio.sleep(0.01)


def answers(folder: Path) -> int:
    return sum(text.count(b'"answer"') for text in journals(folder).values())


def where(place: Place) -> list[str]:
    found = ["--folder", str(place.folder)]
    if place.database:
        found += ["--database", place.database, "--owner-database", place.owner_database]
    return found


def run(place: Place, *arguments: str) -> str:
    done = hansa(*arguments, *where(place), folder=place.folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def another(place: Place, request: pytest.FixtureRequest, folder: Path) -> Place:
    """An empty place on the same engine, with the master key."""
    folder.mkdir()
    shutil.copy(place.folder / "master.key", folder)
    if not place.database:
        return replace(place, folder=folder)
    cluster: Cluster = request.getfixturevalue("postgres_cluster")
    dsns = cluster.new_database(f"again_{secrets.token_hex(4)}")
    return Place(folder, dsns.application, dsns.owner)


def broken(place: Place, scene: Scene, promised: dict[str, bytes]) -> list[str]:
    """Every promise that a cell breaks; `promised` is what was answered, and must be there."""
    for name, text in promised.items():
        (place.folder / name).write_bytes(text)
    books, found = asyncio.run(look(place, scene))
    return found if books is None else [*found, *violations(books, place.folder)]


def test_a_copy_made_under_load_is_a_consistent_cell(
    place: Place, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    scene = asyncio.run(load.set_up(place))
    with loaded(place, scene, 2 if place.database else 1):
        asyncio.run(until(lambda: answers(place.folder) > ENOUGH))
        promised = journals(place.folder)
        said = run(place, "backup", "--to", str(tmp_path / "copy"))
        after = answers(place.folder)
    assert "has the cell as of" in said
    assert "Not in it: the master key" in said
    assert after > sum(text.count(b'"answer"') for text in promised.values()), "it was under load"
    other = another(place, request, tmp_path / "restored")
    assert "restored as of" in run(other, "restore", "--from", str(tmp_path / "copy"))
    assert broken(other, scene, promised) == []


# ---- what is shipped


def shipped(depot: Path) -> list[Shipment]:
    return shipment.parse(FolderDepot(depot).names())


def with_the_world(from_: Path, to: Path, begun_us: int) -> None:
    """Give a restored cell the provider as it is, but for what it was asked on behalf of commands
    that are lost: of that, only the provider can tell."""
    shutil.copy(from_ / "testpay.db", to / "testpay.db")
    rows = apsw.Connection(str(to / "hansa.db"))
    known = [row[0] for row in rows.execute("SELECT id FROM hansa_attempts")]
    rows.close()
    world = apsw.Connection(str(to / "testpay.db"))
    world.execute(
        "DELETE FROM moves WHERE at > ? AND key NOT IN (SELECT value FROM json_each(?))",
        (begun_us / 1e6, "[" + ",".join(f'"{one}"' for one in known) + "]"),
    )
    world.close()


def test_what_was_answered_before_the_last_shipment_outlives_a_kill(tmp_path: Path) -> None:
    place, depot = Place(tmp_path / "cell"), tmp_path / "depot"
    scene = asyncio.run(load.set_up(place))
    command = [sys.executable, "-m", "hansa.cli", "ship", "--folder", str(place.folder)]
    command += ["--to", str(depot), "--every", "0.2"]
    shipper = subprocess.Popen(command, cwd=ROOT)
    try:
        with loaded(place, scene, 1):
            asyncio.run(until(lambda: answers(place.folder) > ENOUGH))
            promised = journals(place.folder)
            now_us = MachineClock().now_us()
            asyncio.run(
                until(lambda: any(o.number > 3 and o.begun_us > now_us for o in shipped(depot)))
            )
    finally:
        shipper.kill()
        shipper.wait()
    chain = shipment.up_to(shipped(depot), None)
    assert len(chain) > 1
    for number, last in enumerate((chain[-1], chain[len(chain) // 2])):
        other = replace(place, folder=tmp_path / f"restored-{number}")
        other.folder.mkdir()
        shutil.copy(place.folder / "master.key", other.folder)
        at = from_us(last.read_us).isoformat()
        said = run(other, "restore", "--from", str(depot), "--at", at)
        assert f"from {last.number + 1} shipments" in said
        with_the_world(place.folder, other.folder, last.begun_us)
        assert broken(other, scene, promised if last is chain[-1] else {}) == []


def contents(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of a file."""
    connection = apsw.Connection(str(file))
    try:
        tables = [
            r[0] for r in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        return {name: sorted(connection.execute(f'SELECT * FROM "{name}"')) for name in tables}
    finally:
        connection.close()


OFTEN_ANEW = """
import sys
from hansa.cli.main import main
from hansa.kernel.keeping import shipping, wal

shipping.ANEW_BYTES = 200_000
shipping.Shipper._is_over = lambda self, known: False
read_index, runs = wal.read_index, set()

def noted(file):
    index = read_index(file)
    if index.salt not in runs:
        runs.add(index.salt)
        print("another run of the log", flush=True)
    return index

wal.read_index = noted
main(sys.argv[1:])
"""


def test_nothing_is_left_out_while_the_log_begins_anew_and_processes_are_killed(
    tmp_path: Path,
) -> None:
    place, depot, told = Place(tmp_path / "cell"), tmp_path / "depot", tmp_path / "told"
    scene = asyncio.run(load.set_up(place))
    command = [sys.executable, "-c", OFTEN_ANEW, "ship", "--folder", str(place.folder)]
    command += ["--to", str(depot), "--every", "0.1"]

    def runs() -> int:
        return told.read_text().count("another run")

    with told.open("wb") as out:
        shipper = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)
    try:
        for wanted in (4, 7, 10):
            with loaded(place, scene, 1):
                asyncio.run(until(partial(lambda some: runs() >= some, wanted)))
        shipper.terminate()
        assert shipper.wait(60) == 0, told.read_text()
    finally:
        shipper.kill()
        shipper.wait()
    chain = shipment.up_to(shipped(depot), None)
    assert {one.generation for one in shipped(depot)} == {chain[0].generation}, told.read_text()
    assert len(shipped(depot)) == len(chain)
    replay.restore(FolderDepot(depot), chain, Kept(tmp_path / "restored"))
    left = contents(place.folder / "hansa.db")
    assert contents(tmp_path / "restored" / "hansa.db") == left, told.read_text()


# ---- sites


def test_sites_taken_out_in_the_middle_of_everything_go_on_on_the_other_engine(
    place: Place, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    scene = asyncio.run(load.set_up(place))
    with loaded(place, scene, 1):
        asyncio.run(until(lambda: answers(place.folder) > ENOUGH))
    promised = journals(place.folder)
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(place.folder / "master.key", folder)
    other = Place(folder)
    if not place.database:
        dsns: Dsns = request.getfixturevalue("postgres_dsns")
        other = Place(folder, dsns.application, dsns.owner)
    counts = asyncio.run(carried(place, other, [scene.site, scene.clock_site]))
    assert counts["hansa_events"] > ENOUGH / 2
    assert counts["hansa_keys"] > ENOUGH / 2
    shutil.copy(place.folder / "testpay.db", folder)
    assert broken(other, scene, promised) == []


async def carried(source: Place, target: Place, sites: list[str]) -> dict[str, int]:
    """Copy sites from cell to cell, with what they were in the middle of."""
    counts: dict[str, int] = {}
    rows, clock = belongings(TORTURED), MachineClock()
    ours, theirs = source.storage(), target.storage()
    await ours.open()
    await theirs.open()
    try:
        await migrating.migrate(theirs, SERVICES)
        await make_tables(theirs, torture)
        for site in sites:
            end = await copy_site(ours, theirs, rows, site, slot_of(site), clock)
            counts = {name: counts.get(name, 0) + count for name, count in end.rows.items()}
    finally:
        await ours.close()
        await theirs.close()
    return counts
