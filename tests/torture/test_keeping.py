"""Copies of a cell under load: what is restored from one keeps every promise, on both engines."""

import asyncio
import random
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from hansa.assembly import Place
from hansa.testing.postgres import Cluster, Dsns
from hansa.torture import load
from hansa.torture.check import look, violations
from hansa.torture.load import Scene
from hansa.torture.run import Load
from tests.cli.server import hansa

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
