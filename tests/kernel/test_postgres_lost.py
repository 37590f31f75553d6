"""Killed backends, a server that goes down: retried or told clearly, and nothing kept is lost."""

import asyncio
from typing import Any

import pytest

from hansa.kernel import row_security
from hansa.kernel.problems import Overloaded, StorageFailed
from hansa.kernel.storage import Session
from hansa.testing.postgres import Cluster, Dsns, PostgresMissing
from tests.kernel.postgres_world import ADD, LEVEL, PAUSE, SITE, World, add, run

# Holds up a commit at the gate, after the last statement of the body.
AT_COMMIT = [
    "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$",
    "CREATE CONSTRAINT TRIGGER pause AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION pause()",
]


async def kill(world: World, backends: list[int]) -> None:
    for backend in backends:
        assert await world.door.fetchval("SELECT pg_terminate_backend($1, 10000)", backend)


def test_a_command_whose_backend_is_killed_runs_again(postgres_dsns: Dsns) -> None:
    tries: list[int] = []

    async def body(session: Session) -> str:
        tries.append(1)
        await session.run(ADD, (SITE, "mug", 1))
        await session.fetch(PAUSE)
        return "done"

    async def test(world: World) -> None:
        async with world.gate():
            command = asyncio.create_task(world.write(body))
            await kill(world, await world.paused(1))
            await world.paused(1)  # the second try
        assert (await command).value == "done"
        assert len(tries) == 2
        assert await world.names() == ["mug"]

    run(postgres_dsns, test)


def test_a_body_that_hides_a_lost_connection_runs_again(postgres_dsns: Dsns) -> None:
    tries: list[int] = []

    async def body(session: Session) -> str:
        tries.append(1)
        await session.run(ADD, (SITE, "mug", 1))
        try:
            await session.fetch(PAUSE)
        except StorageFailed:
            return "as if it were kept"
        return "kept"

    async def test(world: World) -> None:
        async with world.gate():
            command = asyncio.create_task(world.write(body))
            await kill(world, await world.paused(1))
            await world.paused(1)
        assert (await command).value == "kept"
        assert len(tries) == 2
        assert await world.names() == ["mug"]

    run(postgres_dsns, test)


def test_a_commit_of_unknown_outcome_is_told_and_not_repeated(postgres_dsns: Dsns) -> None:
    tries: list[int] = []

    async def body(session: Session) -> None:
        tries.append(1)
        await session.run(ADD, (SITE, "mug", 1))

    async def test(world: World) -> None:
        await world.storage.apply(AT_COMMIT)
        wakes: list[int] = []
        world.storage.on_commit(lambda: wakes.append(1))
        async with world.gate():
            command = asyncio.create_task(world.write(body))
            await kill(world, await world.paused(1))
            with pytest.raises(StorageFailed, match="same key"):
                await command
        assert (tries, wakes) == ([1], [])
        assert await world.names() == []
        assert (await world.write(add("cup"))).value == "cup"

    run(postgres_dsns, test)


@pytest.mark.parametrize("shape", ["", "one"])
def test_a_query_whose_backend_is_killed_begins_again(postgres_dsns: Dsns, shape: str) -> None:
    tries: list[int] = []

    async def body(session: Session) -> Any:
        tries.append(1)
        return await session.fetch(f"SELECT 5 FROM ({PAUSE}) AS pause")

    async def test(world: World) -> None:
        async with world.gate():
            query = asyncio.create_task(world.read(body, shape=shape))
            await kill(world, await world.paused(1))
            await world.paused(1)
        assert [tuple(row) for row in await query] == [(5,)]
        assert len(tries) == 2

    run(postgres_dsns, test)


def test_idle_connections_that_were_killed_are_made_anew(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        await asyncio.gather(*(world.write(add(f"t{n}")) for n in range(6)))
        for _ in range(2):
            await world.at_rest()
            await world.door.fetch(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE usename = $1 AND datname = current_database()",
                row_security.APPLICATION,
            )
            assert len(await world.names()) == 6
        await asyncio.gather(*(world.write(add(f"u{n}")) for n in range(6)))
        assert len(await world.names()) == 12

    run(postgres_dsns, test, pool_max=3)


def test_a_server_that_stays_away_is_overload_at_the_deadline() -> None:
    with durable() as cluster:

        async def test(world: World) -> None:
            await world.write(add("mug"))
            await asyncio.to_thread(cluster.kill)
            for call in (world.write(add("cup"), 1), world.read(names_of, 1)):
                with pytest.raises(Overloaded, match="could not be used"):
                    await call
            await asyncio.to_thread(cluster.start)
            assert await world.names() == ["mug"]

        run(cluster.new_database(), test)


async def names_of(session: Session) -> Any:
    return await session.fetch(LEVEL, (SITE, "mug"))


def durable() -> Cluster:
    """Return a server of one's own that keeps what it acknowledges."""
    cluster = Cluster(durable=True)
    try:
        cluster.start()
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    return cluster


def test_a_crash_of_the_server_loses_nothing_acknowledged() -> None:
    kept: set[str] = set()
    doubtful: set[str] = set()
    done = asyncio.Event()

    async def writer(world: World, who: int) -> None:
        number = 0
        while not done.is_set():
            name = f"w{who}-{number}"
            number += 1
            try:
                kept.add((await world.write(add(name))).value)
            except StorageFailed:
                doubtful.add(name)

    async def reader(world: World) -> None:
        while not done.is_set():
            before = set(kept)
            assert before <= set(await world.names())

    async def more(count: int) -> None:
        goal = len(kept) + count
        while True:
            if len(kept) >= goal:
                return
            await asyncio.sleep(0.005)

    with durable() as cluster:

        async def test(world: World) -> None:
            async with asyncio.TaskGroup() as group:
                for who in range(4):
                    group.create_task(writer(world, who))
                group.create_task(reader(world))
                for _ in range(2):
                    await more(20)
                    await asyncio.to_thread(cluster.restart)
                await more(20)
                done.set()
            there = set(await world.names())
            assert kept <= there <= kept | doubtful

        run(cluster.new_database(), test)
