"""Passes of the sequencer: in a crowd, two at once, broken off, and held up by another one."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
import uvloop

from hansa.kernel import log, migrating
from hansa.kernel.outbox import Emitted, Outbox, Stamp, flush
from hansa.kernel.postgres import PostgresStorage, sequencer
from hansa.kernel.problems import StorageFailed
from hansa.kernel.storage import PLATFORM, Session
from hansa.testing.postgres import Dsns
from tests.kernel.postgres_world import SITE, Body, World


def run(dsns: Dsns, test: Callable[[World], Awaitable[None]]) -> None:
    """Run `test` in a cell with the kernel's tables."""

    async def main() -> None:
        storage = PostgresStorage(dsns.application, owner_dsn=dsns.owner)
        await storage.open()
        await migrating.migrate(storage, [])
        door: Any = await asyncpg.connect(dsns.superuser)
        try:
            async with asyncio.timeout(120):
                await test(World(storage, door, dsns))
        finally:
            door.terminate()
            await storage.close()

    uvloop.run(main())


def emit(name: str, count: int = 1) -> Body:
    """Return a command that emits so many events of one aggregate."""

    async def body(session: Session) -> None:
        events = [Emitted(f"{name}-{i}", "t.done", 1, name, b"{}") for i in range(count)]
        stamp = Stamp(SITE, 1, 1, 0, 0, "tester", "", "test")
        await flush(session, Outbox(events=events), stamp)

    return body


class Follower:
    """Reads the log as a subscriber does: always on from the last position that it saw."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen: list[tuple[int, str]] = []

    async def look(self) -> int:
        after = self.seen[-1][0] if self.seen else 0
        events: list[log.LogEvent] = await self.world.read(
            lambda session: log.after(session, after, 100), site=PLATFORM, across=True, shape="log"
        )
        self.seen += [(event.position, event.id) for event in events]
        return len(events)

    async def follow(self, stop: asyncio.Event) -> None:
        while True:
            if not await self.look() and stop.is_set():
                return

    def assert_complete(self, ids: set[str]) -> None:
        """Everything was seen, once, and the positions have no gap."""
        assert {seen[1] for seen in self.seen} == ids
        assert [seen[0] for seen in self.seen] == list(range(1, len(ids) + 1))


async def crowd(world: World) -> tuple[list[Follower], set[str]]:
    """Let many write at once, some slowly, while two processes give positions and two follow."""
    chance = random.Random(7)
    other = PostgresStorage(world.dsns.application)
    await other.open()
    stop = asyncio.Event()

    async def sequence(storage: PostgresStorage) -> None:
        while not stop.is_set():
            await storage.sequence()
            await asyncio.sleep(0)

    async def writer(name: str) -> None:
        storage = chance.choice([world.storage, other])
        for i in range(12):
            slow = chance.random() * 0.02

            async def body(session: Session, i: int = i, slow: float = slow) -> None:
                await emit(f"{name}{i}", 2)(session)
                await session.fetch("SELECT pg_sleep($1)", (slow,))

            await storage.write(body, site=SITE, deadline=time.monotonic() + 60)

    followers = [Follower(world), Follower(World(other, world.door, world.dsns))]
    loops = [asyncio.create_task(sequence(storage)) for storage in (world.storage, other)]
    loops += [asyncio.create_task(follower.follow(stop)) for follower in followers]
    try:
        await asyncio.gather(*(writer(f"w{number}-") for number in range(8)))
        stop.set()
        await asyncio.gather(*loops)
        await world.storage.sequence()
        for follower in followers:
            await follower.look()
    finally:
        for loop in loops:
            loop.cancel()
        await other.close()
    names = {f"w{number}-{i}-{k}" for number in range(8) for i in range(12) for k in range(2)}
    return followers, names


def test_nobody_misses_an_event_in_a_crowd(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        followers, names = await crowd(world)
        for follower in followers:
            follower.assert_complete(names)
        assert followers[0].seen == followers[1].seen

    run(postgres_dsns, test)


def test_events_of_one_command_and_of_one_aggregate_keep_their_order(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        await asyncio.gather(*(world.write(emit(f"n{i}", 3)) for i in range(10)))
        assert await world.storage.sequence() == 30
        assert await world.storage.sequence() == 0
        rows = await world.door.fetch(
            "SELECT id, aggregate, seq FROM hansa_events ORDER BY position"
        )
        order: dict[str, list[tuple[str, int]]] = {}
        for row in rows:
            order.setdefault(row["aggregate"], []).append((row["id"], row["seq"]))
        assert order == {
            f"n{i}": [(f"n{i}-0", 1), (f"n{i}-1", 2), (f"n{i}-2", 3)] for i in range(10)
        }

    run(postgres_dsns, test)


def test_two_at_once_share_the_work_without_a_gap(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        others = [PostgresStorage(world.dsns.application) for _ in range(4)]
        for other in others:
            await other.open()
        try:
            for turn in range(5):
                await world.write(emit(f"a{turn}", 20))
                counts = await asyncio.gather(*(other.sequence() for other in others))
                assert sum(counts) == 20
        finally:
            for other in others:
                await other.close()
        positions = await world.door.fetch("SELECT position FROM hansa_events ORDER BY position")
        assert [row[0] for row in positions] == list(range(1, 101))

    run(postgres_dsns, test)


def test_a_pass_that_is_broken_off_leaves_nothing(
    postgres_dsns: Dsns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies between numbering and moving the counter; the next one does all of it."""
    move = sequencer._MOVE

    async def test(world: World) -> None:
        await world.write(emit("a", 5))
        monkeypatch.setattr(
            sequencer,
            "_MOVE",
            "SELECT pg_terminate_backend(pg_backend_pid()), $1::text, $2::bigint",
        )
        with pytest.raises(StorageFailed):
            await world.storage.sequence()
        assert await world.door.fetchval("SELECT count(position) FROM hansa_events") == 0
        monkeypatch.setattr(sequencer, "_MOVE", move)
        assert await world.storage.sequence() == 5

    run(postgres_dsns, test)


def test_who_holds_the_row_for_too_long_is_waited_for_no_longer(
    postgres_dsns: Dsns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer, "PASS_S", 0.3)

    async def test(world: World) -> None:
        await world.write(emit("a"))
        await world.storage.sequence()
        await world.write(emit("b"))
        async with world.door.transaction():
            await world.door.fetch("SELECT position FROM hansa_cell FOR UPDATE")
            with pytest.raises(StorageFailed):
                await world.storage.sequence()
        assert await world.storage.sequence() == 1

    run(postgres_dsns, test)
