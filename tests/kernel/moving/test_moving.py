"""A site moves from cell to cell under load: nothing is lost, doubled, or refused."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hansa.assembly import OPERATOR, Place
from hansa.kernel import whereabouts
from hansa.kernel.caller import PUBLIC_PRINCIPAL, Caller
from hansa.kernel.fence import SiteElsewhere, SiteMoving
from hansa.kernel.moving.leaving import Leaving
from hansa.kernel.moving.messages import Piece, Want
from hansa.kernel.problems import NotFound, Problem
from hansa.platform.sites.api import NewSite, TestClock, advance_clock, create_site
from hansa.platform.sites.api.clocks import NewTime
from hansa.testing.postgres import Dsns
from tests.kernel.cells import DAWN
from tests.kernel.moving import ledger as L
from tests.kernel.moving.town import League, Town, league

NAMES = ("a", "b", "c")
Pair = tuple[Place, Place]


@pytest.fixture(params=["sqlite", "mixed", "postgres"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Two cells: both SQLite, one of each, both PostgreSQL."""

    def sqlite(name: str) -> Place:
        return Place(tmp_path / name, synchronous="OFF")

    def postgres(name: str, fixture: str) -> Place:
        dsns: Dsns = request.getfixturevalue(fixture)
        return Place(tmp_path / name, dsns.application, dsns.owner)

    if request.param == "sqlite":
        return sqlite("north"), sqlite("south")
    if request.param == "mixed":
        return sqlite("north"), postgres("south", "postgres_dsns")
    return postgres("north", "postgres_dsns"), postgres("south", "other_dsns")


def run(tmp_path: Path, pair: Pair, test: Callable[[League], Awaitable[None]]) -> None:
    async def go() -> None:
        async with league(tmp_path, *pair) as made:
            await test(made)

    asyncio.run(go())


class Load:
    """Clients that post, each with a key of its own a time, at one process each."""

    def __init__(self, made: League, towns: list[Town]) -> None:
        self._league = made
        self._stop = False
        self.counts: dict[str, int] = dict.fromkeys(NAMES, 0)
        self._tasks = [
            asyncio.create_task(self._client(number, town)) for number, town in enumerate(towns)
        ]

    async def _client(self, number: int, town: Town) -> None:
        turn = 0
        while not self._stop:
            name = NAMES[(turn + number) % len(NAMES)]
            key = f"key-{number:08d}-{turn:012d}"
            before = await self._league.post(town, name, key)
            if turn % 5 == 0:  # once more, wherever it is by now
                assert await self._league.post(town, name, key) == before
            self.counts[name] += 1
            turn += 1

    async def reached(self, total: int) -> None:
        """Wait for so many posts."""
        while sum(self.counts.values()) < total:
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)

    async def end(self) -> dict[str, int]:
        """Stop, and return what was posted."""
        self._stop = True
        await asyncio.gather(*self._tasks)
        return self.counts


def test_a_site_moves_there_and_back_under_load(tmp_path: Path, pair: Pair) -> None:
    async def test(made: League) -> None:
        load = Load(made, [made.home, made.north, made.south])
        await load.reached(30)
        moved = await made.move("south")
        assert made.steps == ["plan", "fence", "copy", "flip", "leave", "erase", "finish"]
        assert (moved.cell, moved.epoch) == ("south", 2)
        assert moved.rows > 30
        await load.reached(sum(load.counts.values()) + 30)
        await made.gone(made.north)
        await made.move("north")
        await load.reached(sum(load.counts.values()) + 30)
        counts = await load.end()
        await made.check(made.north, counts)
        await made.gone(made.south)
        assert (await made.move("north")).epoch == 3

    run(tmp_path, pair, test)


class Killed(Exception):
    pass


def dies_before(number: int) -> Callable[[str], None]:
    """Return what ends a mover before its step of a number."""
    steps: list[str] = []

    def told(step: str) -> None:
        steps.append(step)
        if len(steps) == number:
            raise Killed

    return told


@pytest.mark.parametrize("pair", ["sqlite", "postgres"], indirect=True)
def test_a_mover_that_dies_at_any_step_is_gone_on_with_or_taken_back(
    tmp_path: Path, pair: Pair
) -> None:
    async def test(made: League) -> None:
        load = Load(made, [made.home, made.north, made.south])
        cells = ["north", "south"]
        for number in range(2, 8):
            for back in (False, True):
                with pytest.raises(Killed):
                    await made.move(cells[1], dies_before(number))
                to = cells[0] if back else cells[1]
                await made.move(to)
                assert (await place(made)) == to
                cells = [to, *(one for one in cells if one != to)]
                await load.reached(sum(load.counts.values()) + 3)
        counts = await load.end()
        await made.check(made.town(cells[0]), counts)

    run(tmp_path, pair, test)


async def place(made: League) -> Any:
    rows = await made.home.rows("SELECT cell, move FROM sites_sites WHERE id = ?1", made.site)
    assert rows[0][1] == "none"
    return rows[0][0]


@pytest.mark.parametrize("pair", ["sqlite", "postgres"], indirect=True)
def test_while_it_is_fenced_writes_wait_a_while_and_reads_go_on(
    tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(made: League) -> None:
        key = "k" * 22
        first = await made.post(made.home, "a", key)
        with pytest.raises(Killed):
            await made.move("south", dies_before(3))
        monkeypatch.setattr(whereabouts, "WAIT_S", 0.2)
        for town in (made.home, made.north, made.south):
            with pytest.raises(SiteMoving) as late:
                await made.post(town, "a", f"{key}2")
            assert (late.value.status, late.value.retry_after_s) == (503, 1)
            caller = Caller(made.site, PUBLIC_PRINCIPAL)
            assert await town.cell.runtime.do(L.get_sum, caller, {"name": "a"}) == first
        monkeypatch.undo()
        waiting = asyncio.create_task(made.post(made.north, "a", f"{key}2"))
        await made.move("south")
        assert (await waiting).count == 2
        assert await made.post(made.north, "a", key) == first
        await made.check(made.south, {"a": 2})

    run(tmp_path, pair, test)


@pytest.mark.parametrize("pair", ["sqlite", "postgres"], indirect=True)
def test_a_process_that_has_not_heard_of_the_move_is_refused(tmp_path: Path, pair: Pair) -> None:
    async def test(made: League) -> None:
        await made.post(made.north, "a", "k" * 22)
        await made.move("south")
        runtime = made.north.cell.runtime
        caller = Caller(made.site, PUBLIC_PRINCIPAL)
        with pytest.raises(SiteElsewhere):
            await runtime.invoke_here(L.get_sum, caller, {"name": "a"})
        if runtime.storage.dialect == "postgresql":
            runtime.storage.fence.load([])  # the row decides, not what is remembered
        for _ in range(2):
            with pytest.raises(SiteElsewhere):
                await runtime.invoke_here(L.post, caller, {"name": "a"}, key="n" * 22)
        assert await made.north.rows("SELECT count(*) FROM book_sums") == [(0,)]

    run(tmp_path, pair, test)


def test_a_cell_that_cannot_have_the_site_is_told(tmp_path: Path) -> None:
    async def test(made: League) -> None:
        with pytest.raises(NotFound):
            await made.move("west")
        with pytest.raises(NotFound):
            await made.move("home")
        await made.move("north")
        assert made.steps == ["plan"]  # and found to be there
        assert (await made.move("south")).cell == "south"

    folder = tmp_path / "cells"
    cells = (Place(folder / "north", synchronous="OFF"), Place(folder / "south", synchronous="OFF"))
    run(tmp_path, cells, test)


def test_rows_that_do_not_go_into_a_cell_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Callable[..., Any] = Leaving.read

    async def twice(self: Leaving, want: Want) -> Piece:
        piece: Piece = await read(self, want)
        return msgspec.structs.replace(piece, parts=[*piece.parts, *piece.parts])

    async def test(made: League) -> None:
        await made.post(made.north, "a", "k" * 22)
        with monkeypatch.context() as patch:
            patch.setattr(Leaving, "read", twice)
            with pytest.raises(Problem, match="does not go into this cell") as refused:
                await made.move("south")
            assert refused.value.status == 409
        await made.move("south")
        await made.check(made.south, {"a": 1})

    folder = tmp_path / "cells"
    cells = (Place(folder / "north", synchronous="OFF"), Place(folder / "south", synchronous="OFF"))
    run(tmp_path, cells, test)


def test_a_test_clock_moves_with_its_site(tmp_path: Path) -> None:
    async def test(made: League) -> None:
        home = made.home.cell.runtime
        new = NewSite("later", clock=TestClock(DAWN))
        made.site = (await home.do(create_site, OPERATOR, {"body": new})).id
        await made.post(made.north, "a", "k" * 22)
        await made.move("south")
        rows = await made.south.rows("SELECT count(*) FROM hansa_due")
        assert rows == [(1,)]  # it waits for the clock
        to = {"site": made.site, "body": NewTime(DAWN + timedelta(days=1))}
        state = await home.do(advance_clock, OPERATOR, to)
        assert state.now == DAWN + timedelta(days=1)
        await made.check(made.south, {"a": 1})

    folder = tmp_path / "cells"
    cells = (Place(folder / "north", synchronous="OFF"), Place(folder / "south", synchronous="OFF"))
    run(tmp_path, cells, test)
