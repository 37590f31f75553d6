"""What a third cell hears of a site that moves: each event once, whatever is pruned meanwhile.

The site is in the north, and home follows the logs of both cells that share it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hansa.assembly import Place
from hansa.kernel.clock import MachineClock
from hansa.kernel.pruning import LOG_KEPT_S
from hansa.testing.postgres import Dsns
from tests.kernel.moving.town import League, Town, league

DAY_S = 86_400
COPIES = "SELECT count(*) FROM hansa_events WHERE type = 'book.posted'"
LAST = "SELECT max(position) FROM hansa_events"
FOLLOWED = "SELECT position FROM hansa_cursors WHERE subscriber = ?1"


class Later(MachineClock):
    """The machine's time, put on by the test."""

    def __init__(self) -> None:
        super().__init__()
        self._later_us = 0

    def now_us(self) -> int:
        return super().now_us() + self._later_us

    def add(self, seconds: float) -> None:
        """Have so much time go by at once."""
        self._later_us += int(seconds * 1_000_000)


@pytest.fixture(params=["sqlite", "postgres"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Place, Place, Place]:
    """Home, the north and the south: all on SQLite, or all but the north on PostgreSQL."""

    def place(name: str, fixture: str) -> Place:
        if request.param == "sqlite" or not fixture:
            return Place(tmp_path / name, synchronous="OFF")
        dsns: Dsns = request.getfixturevalue(fixture)
        return Place(tmp_path / name, dsns.application, dsns.owner)

    return place("home", "postgres_dsns"), place("north", ""), place("south", "other_dsns")


def run(
    tmp_path: Path,
    places: tuple[Place, Place, Place],
    test: Callable[[League, Later], Awaitable[None]],
) -> None:
    async def go() -> None:
        clock = Later()
        home, north, south = places
        async with league(tmp_path, north, south, home=home, clock=clock) as made:
            await test(made, clock)

    asyncio.run(go())


async def post(made: League, name: str, count: int, times: int) -> None:
    """Post so often, the first being the one of a number."""
    for number in range(count, count + times):
        done = await made.post(made.home, name, f"key-{name}-{number:016d}")
        assert done.count == number


async def all_followed(made: League, town: Town) -> None:
    """Wait until home has looked at all of a log."""
    last = await town.rows(LAST)
    await made.until(made.home, last, FOLLOWED, f"follow:{town.entry.cell}/book.posted")


def test_a_site_that_moves_again_and_again_is_heard_once(
    tmp_path: Path, places: tuple[Place, Place, Place]
) -> None:
    """Each move has its events begin anew in another log, where they stand for as long again."""

    async def test(made: League, clock: Later) -> None:
        await post(made, "a", 1, 3)
        await post(made, "b", 1, 1)
        await made.check(made.north, {"a": 3, "b": 1})
        clock.add(LOG_KEPT_S - DAY_S)
        await made.move("south")
        await all_followed(made, made.south)
        clock.add(2 * DAY_S)
        assert await made.home.prune() >= 4
        assert await made.home.rows(COPIES) == [(0,)]
        clock.add(LOG_KEPT_S - 3 * DAY_S)
        assert await made.south.prune() == 0
        await made.move("north")
        assert await made.north.rows(COPIES) == [(4,)]
        await all_followed(made, made.north)
        await post(made, "a", 4, 1)
        await made.check(made.north, {"a": 4, "b": 1})
        assert await made.home.rows(COPIES) == [(1,)]

    run(tmp_path, places, test)


def test_what_a_log_has_for_longer_is_heard_once(
    tmp_path: Path, places: tuple[Place, Place, Place]
) -> None:
    """Nothing goes from a log that a subscriber is behind of, and then the site moves."""

    async def test(made: League, clock: Later) -> None:
        await post(made, "a", 1, 3)
        await made.check(made.north, {"a": 3})
        clock.add(LOG_KEPT_S + DAY_S)
        assert await made.home.prune() >= 3
        await made.move("south")
        assert await made.south.rows(COPIES) == [(3,)]
        await all_followed(made, made.south)
        await post(made, "a", 4, 1)
        await made.check(made.south, {"a": 4})

    run(tmp_path, places, test)
