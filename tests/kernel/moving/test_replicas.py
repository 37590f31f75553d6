"""A cell of several processes: what one of them copies the others leave alone, while it goes on."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hansa.assembly import Place
from hansa.kernel import codec
from hansa.kernel.keeping.belongings import belongings
from hansa.kernel.moving import arriving
from hansa.kernel.moving.arriving import LEASE_S, Arriving
from hansa.kernel.moving.leaving import Leaving
from hansa.kernel.moving.messages import Take
from hansa.kernel.problems import Conflict
from hansa.kernel.residence import UNTIL
from hansa.kernel.storage import Storage
from hansa.testing.postgres import Dsns
from tests.kernel.cells import REAL, HandClock, opened
from tests.kernel.moving import ledger as L
from tests.kernel.moving.town import league

ASKED = 7
"""How often the copy is asked for before it goes on."""
KEEP = (
    "INSERT INTO hansa_sites (site, state, epoch, at_us, followed) VALUES (?1, 'coming', ?2, 1, ?3)"
)


def test_a_copy_that_takes_long_is_made_once_whoever_is_asked_for_it(
    tmp_path: Path, postgres_dsns: Dsns, monkeypatch: pytest.MonkeyPatch
) -> None:
    take: Callable[..., Any] = Arriving.take
    begin: Callable[..., Any] = Leaving.begin
    read: Callable[..., Any] = Leaving.read
    asked: list[Arriving] = []
    begun = 0
    go_on = asyncio.Event()

    async def counted(self: Arriving, message: Any, wait_s: float) -> Any:
        asked.append(self)
        if len(asked) == ASKED:
            go_on.set()
        return await take(self, message, wait_s if len(asked) >= ASKED else 0.1)

    async def noted(self: Leaving, ask: Any) -> Any:
        nonlocal begun
        begun += 1
        return await begin(self, ask)

    async def held(self: Leaving, want: Any) -> Any:
        await go_on.wait()
        return await read(self, want)

    monkeypatch.setattr(arriving, "HELD_S", 0.05)
    monkeypatch.setattr(Arriving, "take", counted)
    monkeypatch.setattr(Leaving, "begin", noted)
    monkeypatch.setattr(Leaving, "read", held)

    async def go() -> None:
        north = Place(tmp_path / "north", synchronous="OFF")
        south = Place(tmp_path / "south", postgres_dsns.application, postgres_dsns.owner)
        async with league(tmp_path, north, south, replicas=2) as made:
            await made.post(made.north, "a", "k" * 22)
            await made.move("south")
            assert len(set(asked)) == 2  # both were asked
            assert (begun, made.steps.count("fence")) == (1, 1)
            await made.check(made.south, {"a": 1})
            state = "SELECT state, followed FROM hansa_sites WHERE site = ?1"
            assert await made.south.rows(state, made.site) == [("here", "{}")]

    asyncio.run(go())


@pytest.mark.parametrize("epoch", [4, 5])
def test_what_nobody_goes_on_with_is_taken_over_after_a_while(
    storage: Storage, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once for a later move, and where no other process has the database."""
    monkeypatch.setattr(arriving, "HELD_S", 0.0)

    async def go() -> None:
        clock = HandClock()
        async with opened(storage, L.book, clock=clock, background=False) as cell:
            lease = codec.encode({UNTIL: clock.now_us() + int(LEASE_S * 1e6)}).decode()
            await cell.run(KEEP, REAL.id, epoch, lease)
            side = Arriving(cell.runtime, belongings(cell.services, platform=False))
            take = Take(REAL.id, 5, "north")
            if storage.dialect == "postgresql" and epoch == 5:
                assert await side.take(take, 30) is None
                kept = "SELECT at_us, followed FROM hansa_sites"
                assert await cell.rows(kept) == [(1, lease)]
                clock.add(LEASE_S)
            with pytest.raises(Conflict, match="no cell north"):  # it has begun
                await side.take(take, 30)
            rows = await cell.rows("SELECT epoch, at_us > 1, followed FROM hansa_sites")
            assert [(row[0], bool(row[1]), row[2]) for row in rows] == [(5, True, "{}")]

    asyncio.run(go())
