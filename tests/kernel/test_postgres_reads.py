"""What the PostgreSQL engine promises of queries: one snapshot, few round trips, no writing."""

import asyncio
from typing import Any

import pytest

from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.problems import DeadlineExceeded, NotFound, Overloaded, StorageFailed
from hansa.kernel.storage import Session
from hansa.testing.postgres import Dsns
from tests.kernel.postgres_world import (
    ADD,
    LEVEL,
    NAMES,
    PAUSE,
    SET,
    SITE,
    Body,
    World,
    add,
    run,
)  # fmt: skip


class Wire:
    """A door to the server that counts round trips: how often the client spoke after it heard."""

    def __init__(self, port: int) -> None:
        self.turns = 0
        self._port = port
        self._heard = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(
            self._carry(reader, to_server, asks=True),
            self._carry(from_server, writer, asks=False),
        )

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, asks: bool
    ) -> None:
        while data := await source.read(65_536):
            self.turns += asks and self._heard
            self._heard = not asks
            target.write(data)
        target.close()

    async def of(self, call: Any) -> int:
        """Await a call; return how many round trips it took."""
        before = self.turns
        await call
        return self.turns - before


def one(session: Session) -> Any:
    return session.fetch(NAMES, (SITE,))


async def two(session: Session) -> list[Any]:
    return [await session.fetch(NAMES, (SITE,)), await session.fetch(LEVEL, (SITE, "mug"))]


# ---- round trips


def test_round_trips(postgres_dsns: Dsns) -> None:
    """A query of one statement costs one. A command costs two more than its statements."""

    async def write(session: Session) -> None:
        await session.fetch(LEVEL, (SITE, "mug"))
        await session.run(SET, (SITE, "mug", 1))

    async def test(world: World) -> None:
        address = world.dsns.application.rpartition("@")
        host, _, database = address[2].partition("/")
        wire = Wire(int(host.rpartition(":")[2]))
        server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        dsn = f"{address[0]}@127.0.0.1:{port}/{database}?sslmode=disable"
        near = World(PostgresStorage(dsn, pool_max=1), world.door, world.dsns)
        await near.storage.open()
        try:
            for _ in range(2):  # the first time prepares the statements
                await near.write(write)
                await near.read(one, shape="one")
                await near.read(two, shape="two")
            assert await wire.of(near.read(one, shape="one")) == 1
            assert await wire.of(near.read(two, shape="two")) == 4
            assert await wire.of(near.write(write)) == 4
            assert await wire.of(near.write(write, site="other")) == 4
            assert await wire.of(near.read(two, shape="two", site="other")) == 4
            assert await wire.of(near.read(one, shape="one")) == 1  # the site has stayed
            assert await wire.of(near.read(one, shape="one", site="other")) == 2
            assert await wire.of(near.read(one, shape="one", site="other")) == 1
        finally:
            await near.storage.close()
            server.close()

    run(postgres_dsns, test)


def test_each_site_keeps_its_connection_while_there_are_enough(postgres_dsns: Dsns) -> None:
    async def pid(session: Session) -> int:
        backend: int = (await session.fetch("SELECT pg_backend_pid()"))[0][0]
        return backend

    async def test(world: World) -> None:
        async with world.gate():
            paused = [
                asyncio.create_task(world.read(lambda session: session.fetch(PAUSE), site=site))
                for site in ("a", "b", "c")
            ]
            await world.paused(3)
        await asyncio.gather(*paused)
        first = {site: await world.read(pid, site=site, shape="pid") for site in "abc"}
        assert len(set(first.values())) == 3
        for site in "cabbac":
            assert await world.read(pid, site=site, shape="pid") == first[site]

    run(postgres_dsns, test, pool_max=3)


# ---- snapshots


def test_a_second_statement_begins_again_once_and_is_remembered(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        await world.write(add("mug", 5))
        tries: list[int] = []

        async def body(session: Session) -> Any:
            tries.append(1)
            return await two(session)

        for count in (2, 3, 4):
            names, level = await world.read(body, shape="two")
            assert (names[0][0], level[0][0]) == ("mug", 5)
            assert len(tries) == count

    run(postgres_dsns, test)


def test_all_statements_of_a_query_see_one_instant(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        await world.write(add("mug", 5))

        async def body(session: Session) -> tuple[int, int]:
            before = (await session.fetch(LEVEL, (SITE, "mug")))[0][0]
            await world.write(change)
            after = (await session.fetch(LEVEL, (SITE, "mug")))[0][0]
            return before, after

        async def change(session: Session) -> None:
            await session.run("UPDATE things SET n = n + 1 WHERE site = $1", (SITE,))

        for shape in ("", "twice", "twice"):
            before, after = await world.read(body, shape=shape)
            assert before == after

    run(postgres_dsns, test)


async def swallows(session: Session) -> Any:
    try:
        return await two(session)
    except BaseException:
        return "swallowed"


async def hides(session: Session) -> Any:
    try:
        return await two(session)
    except BaseException as error:
        raise ValueError("hidden") from error


async def gathers(session: Session) -> Any:
    return list(
        await asyncio.gather(session.fetch(NAMES, (SITE,)), session.fetch(LEVEL, (SITE, "mug")))
    )


async def groups(session: Session) -> Any:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(session.fetch(NAMES, (SITE,)))  # type: ignore[arg-type]
        second = group.create_task(session.fetch(LEVEL, (SITE, "mug")))  # type: ignore[arg-type]
    return [first.result(), second.result()]


@pytest.mark.parametrize("body", [swallows, hides, gathers, groups])
def test_no_handler_can_get_in_the_way_of_beginning_again(postgres_dsns: Dsns, body: Body) -> None:
    async def test(world: World) -> None:
        await world.write(add("mug", 5))
        for shape in ("x", "x", ""):
            names, level = await world.read(body, shape=shape)
            assert (names[0][0], level[0][0]) == ("mug", 5)
        await asyncio.gather(*(world.read(body, shape=f"y{i}") for i in range(20)))

    run(postgres_dsns, test, pool_max=2)


def test_more_shapes_than_are_remembered(
    postgres_dsns: Dsns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansa.kernel.postgres.storage.SHAPES_MAX", 0)

    async def test(world: World) -> None:
        await world.write(add("mug", 5))
        assert len(await world.read(two, shape="two")) == 2

    run(postgres_dsns, test)


# ---- reading only


@pytest.mark.parametrize("shape", ["", "write"])
def test_a_query_cannot_write(postgres_dsns: Dsns, shape: str) -> None:
    async def writes(session: Session) -> Any:
        return await session.fetch(f"{ADD} RETURNING name", (SITE, "mug", 1))

    async def calls(session: Session) -> Any:
        return await session.fetch("SELECT nextval(pg_get_serial_sequence('numbers', 'n'))")

    async def runs(session: Session) -> Any:
        return await session.run(ADD, (SITE, "mug", 1))

    async def test(world: World) -> None:
        await world.storage.apply(
            ["CREATE TABLE numbers (n SERIAL)", "GRANT ALL ON SEQUENCE numbers_n_seq TO hansa_app"]
        )
        for body in (writes, calls):
            with pytest.raises(Exception, match="read-only transaction"):
                await world.read(body, shape=shape)
        with pytest.raises(TypeError, match="command"):
            await world.read(runs, shape=shape)
        assert await world.names() == []

    run(postgres_dsns, test)


# ---- the pool


def test_a_refusal_costs_no_connection(postgres_dsns: Dsns) -> None:
    backends: set[int] = set()

    async def refuse(session: Session) -> None:
        backends.add((await session.fetch("SELECT pg_backend_pid()"))[0][0])
        await session.fetch("SELECT 1")
        raise NotFound("none")

    async def test(world: World) -> None:
        for _ in range(5):
            with pytest.raises(NotFound):
                await world.read(refuse)
        assert len(backends) == 1
        assert await world.busy() == 0

    run(postgres_dsns, test)


def test_a_query_of_one_statement_holds_no_connection_while_it_thinks(
    postgres_dsns: Dsns,
) -> None:
    async def test(world: World) -> None:
        go = asyncio.Event()
        read = asyncio.Event()

        async def thinks(session: Session) -> None:
            await session.fetch("SELECT 1")
            read.set()
            await go.wait()

        task = asyncio.create_task(world.read(thinks, shape="thinks"))
        await read.wait()
        await world.write(add("mug"))
        go.set()
        await task

    run(postgres_dsns, test, pool_max=1)


def test_queries_inside_of_queries_do_not_wait_for_each_other(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        everybody = asyncio.Barrier(2)

        async def outer(session: Session) -> Any:
            await session.fetch("SELECT 1")
            await everybody.wait()  # both hold a connection, and there are two
            return await world.read(two, shape="inner")

        await world.write(add("mug", 5))
        found = await asyncio.gather(world.read(outer, 20), world.read(outer, 20))
        assert all(len(one) == 2 for one in found)

        async def deep(session: Session) -> Any:
            await session.fetch("SELECT 1")
            return await world.read(deep)

        with pytest.raises(Overloaded, match="inside"):
            await world.read(deep)
        await asyncio.gather(*(world.write(add(f"m{i}")) for i in range(10)))
        assert await world.door.fetchval(
            "SELECT count(*) <= 2 FROM pg_stat_activity WHERE usename = 'hansa_app'"
            " AND datname = current_database()"
        )

    run(postgres_dsns, test, pool_max=2)


def test_who_finds_no_connection_free_in_time_is_told(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        async with world.gate():
            first = asyncio.create_task(world.write(lambda session: session.fetch(PAUSE)))
            await world.paused(1)
            for call in (world.read(one, 0.05), world.write(add("a"), 0.05)):
                with pytest.raises(Overloaded, match="connection"):
                    await call
        await first
        assert await world.names() == []

    run(postgres_dsns, test, pool_max=1)


def test_a_late_query_is_broken_off_at_the_server(postgres_dsns: Dsns) -> None:
    async def slow(session: Session) -> None:
        await session.fetch("SELECT pg_sleep(60)")

    async def again(session: Session) -> Any:
        """Lose patience with one statement, then ask another one."""
        try:
            async with asyncio.timeout(0.1):
                await session.fetch("SELECT pg_sleep(60)")
        except TimeoutError:
            return "patience"

    async def test(world: World) -> None:
        for shape in ("", "slow"):
            with pytest.raises(DeadlineExceeded):
                await world.read(slow, 0.2, shape=shape)
            await world.at_rest()
            assert await world.read(again, shape=f"{shape}again") == "patience"
            await world.at_rest()
            task = asyncio.create_task(world.read(slow, shape=shape))
            while True:
                if await world.busy():
                    break
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await world.at_rest()
        assert await world.names() == []

    run(postgres_dsns, test, pool_max=1)


def test_closing_waits_for_what_runs_and_refuses_the_rest(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        async with world.gate():
            command = asyncio.create_task(world.write(lambda session: session.fetch(PAUSE)))
            await world.paused(1)
            closing = asyncio.create_task(world.storage.close())
            await asyncio.sleep(0)
            with pytest.raises(StorageFailed, match="closed"):
                await world.write(add("late"))
            assert not closing.done()
        await command
        await closing
        while True:
            if not await world.door.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'hansa_app'"
                " AND datname = current_database()"
            ):
                break
            await asyncio.sleep(0.005)

    run(postgres_dsns, test)
