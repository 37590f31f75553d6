"""What the PostgreSQL engine does when servers go, come back, or are others than before."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import pytest
import uvloop

from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.postgres.link import hosts_of
from hansa.kernel.problems import Overloaded, StorageFailed
from hansa.kernel.storage import Session
from hansa.testing.postgres import FAST, IMMEDIATE, Cluster, Dsns, PostgresMissing
from tests.kernel.postgres_world import (
    NAMES,
    SCHEMA,
    SITE,
    World,
    add,
    raising,
    run,
)


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """A server that a test may crash: durable, as where nothing may be lost."""
    cluster = Cluster()
    try:
        cluster.start()
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    with cluster:
        yield cluster


def run_own(cluster: Cluster, test: Callable[[PostgresStorage, Dsns], Awaitable[None]]) -> None:
    dsns = cluster.new_database()

    async def main() -> None:
        storage = PostgresStorage(dsns.application, owner_dsn=dsns.owner, pool_max=4)
        await storage.open()
        try:
            await storage.apply(SCHEMA)
            async with asyncio.timeout(120):
                await test(storage, dsns)
        finally:
            await storage.close()

    uvloop.run(main())


async def kill(world: World, backends: list[int]) -> None:
    for backend in backends:
        await world.door.execute("SELECT pg_terminate_backend($1)", backend)


# ---- unknown outcomes


async def _until(holds: Callable[[], bool]) -> None:
    while True:
        if holds():
            return
        await asyncio.sleep(0.002)


def test_a_backend_that_dies_while_it_commits_leaves_the_outcome_unknown(
    postgres_dsns: Dsns,
) -> None:
    async def test(world: World) -> None:
        await world.storage.apply(
            [
                "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$",
                "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON things DEFERRABLE INITIALLY"
                " DEFERRED FOR EACH ROW EXECUTE FUNCTION late()",
            ]
        )
        tries: list[int] = []
        async with world.gate():
            task = asyncio.create_task(world.write(raising("", 0, tries)))
            await kill(world, await world.paused(1))
            with pytest.raises(StorageFailed, match="same key"):
                await task
            assert len(tries) == 1  # it may have been kept, so nobody tries again by himself

            late = asyncio.create_task(world.write(raising("", 0, tries), 0.3))
            with pytest.raises(StorageFailed, match="same key"):
                await late
            cancelled = asyncio.create_task(world.write(raising("", 0, tries)))
            await world.paused(1)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        await world.at_rest()
        await world.door.execute("DELETE FROM things")
        await world.write(add("after"))
        assert await world.names() == ["after"]

    run(postgres_dsns, test, pool_max=1)


def test_a_command_broken_off_at_any_moment_leaves_no_transaction_open(
    postgres_dsns: Dsns,
) -> None:
    async def test(world: World) -> None:
        for steps in range(60):
            task = asyncio.create_task(world.write(add(f"n{steps}")))
            for _ in range(steps):
                await asyncio.sleep(0)
            if steps % 3:
                await asyncio.sleep(0.0002 * steps)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await world.at_rest()

    run(postgres_dsns, test, pool_max=1)


def test_a_server_that_became_a_replica_is_left(postgres_dsns: Dsns) -> None:
    backends: list[int] = []

    async def body(session: Session) -> str:
        backends.append((await session.fetch("SELECT pg_backend_pid()"))[0][0])
        return str(await raising("25006", 1, [1] * (len(backends) - 1))(session))

    async def test(world: World) -> None:
        assert (await world.write(body)).value == "done"
        assert len(set(backends)) == 2

    run(postgres_dsns, test, pool_max=1)


# ---- servers


@pytest.mark.parametrize("how", [IMMEDIATE, FAST])
def test_what_was_acknowledged_outlives_a_crash_of_the_server(
    own_cluster: Cluster, how: Any
) -> None:
    """Writers go on through two crashes; each command is there once, or was told to have failed."""

    async def test(storage: PostgresStorage, dsns: Dsns) -> None:
        kept: set[str] = set()
        unknown: set[str] = set()
        refused: set[str] = set()
        stop = asyncio.Event()

        async def writer(name: str) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                row = f"{name}-{number}"
                try:
                    await storage.write(add(row), site=SITE, deadline=time.monotonic() + 30)
                    kept.add(row)
                except StorageFailed:
                    unknown.add(row)
                except Overloaded:
                    refused.add(row)

        async def reader() -> None:
            while not stop.is_set():
                known = set(kept)
                rows = await storage.read(
                    lambda session: session.fetch(NAMES, (SITE,)),
                    site=SITE, deadline=time.monotonic() + 30, shape="names",
                )  # fmt: skip
                assert known <= {row[0] for row in rows}

        tasks = [asyncio.create_task(writer(f"w{i}")) for i in range(6)]
        tasks.append(asyncio.create_task(reader()))
        for _ in range(2):
            goal = len(kept) + 40
            await _until(lambda goal=goal: len(kept) >= goal)  # type: ignore[misc]
            await asyncio.to_thread(own_cluster.restart, how)
        goal = len(kept) + 40
        await _until(lambda: len(kept) >= goal)
        stop.set()
        await asyncio.gather(*tasks)
        door: Any = await asyncpg.connect(dsns.superuser)
        there = {row[0] for row in await door.fetch("SELECT name FROM things")}
        await door.close()
        assert kept <= there
        assert not refused & there
        assert there <= kept | unknown

    run_own(own_cluster, test)


def test_a_server_that_is_away_is_waited_for_until_the_deadline(own_cluster: Cluster) -> None:
    async def test(storage: PostgresStorage, dsns: Dsns) -> None:
        await storage.write(add("before"), site=SITE, deadline=time.monotonic() + 30)
        await asyncio.to_thread(own_cluster.stop)
        try:
            with pytest.raises(Overloaded, match="nothing was changed"):
                await storage.write(add("away"), site=SITE, deadline=time.monotonic() + 0.4)
            with pytest.raises(Overloaded):
                await storage.read(
                    lambda session: session.fetch(NAMES, (SITE,)),
                    site=SITE, deadline=time.monotonic() + 0.4,
                )  # fmt: skip
            with pytest.raises(StorageFailed, match="reached"):
                await PostgresStorage(dsns.application).open()
            with pytest.raises(StorageFailed):
                await storage.sequence()
            late = asyncio.create_task(
                storage.write(add("later"), site=SITE, deadline=time.monotonic() + 60)
            )
        finally:
            await asyncio.to_thread(own_cluster.start)
        await late
        rows = await storage.read(
            lambda session: session.fetch(NAMES, (SITE,)),
            site=SITE, deadline=time.monotonic() + 30,
        )  # fmt: skip
        assert [row[0] for row in rows] == ["before", "later"]

    run_own(own_cluster, test)


def test_a_wrong_login_is_told_at_once(postgres_dsns: Dsns) -> None:
    wrong = postgres_dsns.application.replace("hansa_app:", "hansa_app:x")
    elsewhere = postgres_dsns.application.rpartition("/")[0] + "/nowhere"
    for dsn in (wrong, elsewhere):

        async def main(dsn: str = dsn) -> None:
            with pytest.raises(StorageFailed, match="refuses"):
                await PostgresStorage(dsn).open()

        asyncio.run(main())


# ---- several hosts


def test_hosts_are_taken_apart() -> None:
    assert hosts_of("postgresql://u:p@one/db") == ["postgresql://u:p@one/db"]
    assert hosts_of("postgresql://u:p@one:1,two:2/db?sslmode=require") == [
        "postgresql://u:p@one:1/db?sslmode=require",
        "postgresql://u:p@two:2/db?sslmode=require",
    ]
    assert hosts_of("postgresql://one,two/db") == ["postgresql://one/db", "postgresql://two/db"]


def test_the_host_that_takes_writes_is_found(
    postgres_dsns: Dsns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three, the first is away and the second accepts but never answers."""
    monkeypatch.setattr("hansa.kernel.postgres.pool.CONNECT_S", 2.0)

    async def test(world: World) -> None:
        login, _, rest = world.dsns.application.rpartition("@")
        silent = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        away = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        ports = [server.sockets[0].getsockname()[1] for server in (away, silent)]
        away.close()
        await away.wait_closed()
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        storage = PostgresStorage(f"{login}@{hosts},{rest}")
        await storage.open()
        try:
            await storage.write(add("mug"), site=SITE, deadline=time.monotonic() + 5)
            await asyncio.gather(
                *(
                    storage.write(add(f"n{i}"), site=SITE, deadline=time.monotonic() + 5)
                    for i in range(8)
                )
            )
        finally:
            await storage.close()
            silent.close()
        assert len(await world.names()) == 9

    run(postgres_dsns, test)
