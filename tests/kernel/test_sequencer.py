"""Positions in the log of PostgreSQL: in the order of the commits, and without gaps."""

import asyncio
import random
from collections.abc import Callable

import pytest

from hansa.kernel import migrating
from hansa.kernel.postgres import PostgresStorage, sequencer
from hansa.kernel.problems import Conflict, StorageFailed
from hansa.kernel.storage import PLATFORM, Session
from hansa.testing.postgres import Dsns
from tests.conftest import SEED
from tests.kernel.postgres_world import PAUSE, SITE, Body, World, run

EMIT = """INSERT INTO hansa_events (id, site, slot, epoch, aggregate, seq, type, version, at_us,
recorded_at_us, trace, cause, principal, data)
VALUES ($1, $2, 1, 1, $1, 1, 'test', 1, 0, 0, '', '', '', '')"""
PLACED = "SELECT position, id FROM hansa_events WHERE position IS NOT NULL ORDER BY position"
BY_SERIAL = 'UPDATE hansa_events SET position = "row" WHERE position IS NULL AND $1::bigint >= 0'
"""What must not be done: the serial column as the position."""


def emit(name: str, then: str = "", times: int = 1, *, refused: bool = False) -> Body:
    """Return a body that emits, then does something before it commits."""

    async def body(session: Session) -> None:
        await session.run(EMIT, (name, SITE))
        for _ in range(times if then else 0):
            await session.fetch(then)
        if refused:
            raise Conflict("no")

    return body


class Reader:
    """Follows the log by position, as subscribers do, and notices what it can never read."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.seen: dict[int, str] = {}
        self.missed: dict[int, str] = {}
        """What appeared below a position that was read before."""

    async def look(self) -> None:
        rows = await self._world.read(
            lambda session: session.fetch(PLACED), site=PLATFORM, across=True, shape="placed"
        )
        last = max(self.seen, default=0)
        fresh = {row[0]: row[1] for row in rows if row[0] not in self.seen}
        self.missed |= {position: name for position, name in fresh.items() if position < last}
        self.seen |= fresh


async def crossing(world: World) -> Reader:
    """Let the second of two inserts commit first, with a look at the log in between."""
    await migrating.migrate(world.storage, [])
    reader = Reader(world)
    async with world.gate():
        slow = asyncio.create_task(world.write(emit("slow", PAUSE)))
        await world.paused(1)
        await world.write(emit("fast"))
        assert await world.storage.sequence() == 1
        await reader.look()
    await slow
    assert await world.storage.sequence() == 1
    await reader.look()
    return reader


def test_who_commits_later_comes_later(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        reader = await crossing(world)
        assert reader.seen == {1: "fast", 2: "slow"}
        assert reader.missed == {}

    run(postgres_dsns, test)


def test_the_serial_column_as_position_is_found_out(
    postgres_dsns: Dsns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer, "_NUMBER", BY_SERIAL)

    async def test(world: World) -> None:
        reader = await crossing(world)
        assert reader.missed == {1: "slow"}

    run(postgres_dsns, test)


def test_many_writers_and_two_sequencers_leave_no_gap(postgres_dsns: Dsns) -> None:
    chance = random.Random(SEED)
    many = 120
    refused = set(chance.sample(range(many), many // 4))

    async def writers(world: World, numbers: list[int]) -> None:
        for number in numbers:
            body = emit(f"e{number}", "SELECT 1", chance.randrange(6), refused=number in refused)
            try:
                await world.write(body)
            except Conflict:
                assert number in refused

    async def follow(storage: PostgresStorage, reader: Reader, ended: Callable[[], bool]) -> int:
        total = 0
        while True:
            last_round = ended()
            total += await storage.sequence()
            await reader.look()
            if last_round:
                return total

    async def test(world: World) -> None:
        await migrating.migrate(world.storage, [])
        other = PostgresStorage(world.dsns.application)
        await other.open()
        try:
            work = [
                asyncio.create_task(writers(world, list(range(many))[place::6]))
                for place in range(6)
            ]

            def ended() -> bool:
                return all(task.done() for task in work)

            readers = [Reader(world), Reader(world)]
            totals = await asyncio.gather(
                follow(world.storage, readers[0], ended), follow(other, readers[1], ended)
            )
            await asyncio.gather(*work)
        finally:
            await other.close()
        kept = many - len(refused)
        assert sum(totals) == kept  # no event was numbered twice
        for reader in readers:
            await reader.look()
            assert reader.missed == {}
            assert sorted(reader.seen) == list(range(1, kept + 1))
            assert set(reader.seen.values()) == {
                f"e{number}" for number in range(many) if number not in refused
            }

    run(postgres_dsns, test)


def test_more_than_a_batch_is_numbered_in_the_order_of_insertion(
    postgres_dsns: Dsns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer, "BATCH", 3)
    monkeypatch.setattr(sequencer, "_NUMBER", sequencer._NUMBER.replace("LIMIT 1000", "LIMIT 3"))

    async def several(session: Session) -> None:
        for number in range(7):
            await session.run(EMIT, (f"e{number}", SITE))

    async def test(world: World) -> None:
        await migrating.migrate(world.storage, [])
        assert "LIMIT 3" in sequencer._NUMBER
        await world.write(several)
        assert await world.storage.sequence() == 7
        assert await world.storage.sequence() == 0
        reader = Reader(world)
        await reader.look()
        assert reader.seen == {number + 1: f"e{number}" for number in range(7)}

    run(postgres_dsns, test)


async def _kill_who_waits(world: World) -> None:
    while True:
        killed = await world.door.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        if killed:
            assert killed == 1
            return
        await asyncio.sleep(0.005)


def test_a_sequencer_that_is_killed_gives_nothing_and_the_next_one_all(
    postgres_dsns: Dsns,
) -> None:
    async def test(world: World) -> None:
        await migrating.migrate(world.storage, [])
        await world.write(emit("first"))
        await world.storage.sequence()
        await world.write(emit("second"))
        async with world.door.transaction():  # another one holds the cell's row
            await world.door.execute("SELECT position FROM hansa_cell FOR UPDATE")
            waits = asyncio.create_task(world.storage.sequence())
            await _kill_who_waits(world)
            with pytest.raises(StorageFailed, match="could not be given positions"):
                await waits
        assert await world.storage.sequence() == 1
        reader = Reader(world)
        await reader.look()
        assert reader.seen == {1: "first", 2: "second"}

    run(postgres_dsns, test)
