"""What the PostgreSQL engine promises of commands: isolation, retries, turns, deadlines."""

import asyncio
from typing import Any

import pytest

from hansa.kernel.postgres import queues
from hansa.kernel.problems import (
    CommandSuspended,
    Conflict,
    DeadlineExceeded,
    Overloaded,
)
from hansa.kernel.storage import Session
from hansa.testing.postgres import Dsns
from tests.kernel.postgres_world import (
    ADD,
    LEVEL,
    PAUSE,
    SET,
    SITE,
    Body,
    World,
    add,
    raising,
    run,
)  # fmt: skip


def take_one(name: str, tries: list[int], pause: bool = False) -> Body:
    """Return a body that computes a new level from the one it read."""

    async def body(session: Session) -> int:
        tries.append(1)
        level: int = (await session.fetch(LEVEL, (SITE, name)))[0][0]
        if pause:
            await session.fetch(PAUSE)
        await session.run(SET, (SITE, name, level - 1))
        return level - 1

    return body


# ---- committing


def test_what_is_written_is_read(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        assert (await world.write(add("mug"))).value == "mug"
        assert await world.names() == ["mug"]

    run(postgres_dsns, test)


def test_the_position_is_what_the_last_statement_told(postgres_dsns: Dsns) -> None:
    async def body(session: Session) -> None:
        await session.run(ADD, (SITE, "mug", 1))
        session.position = (await session.fetch("SELECT pg_current_xact_id()::text::bigint"))[0][0]

    async def test(world: World) -> None:
        assert (await world.write(add("cup"))).position == 0
        position = (await world.write(body)).position
        horizon = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        assert 0 < position < await world.door.fetchval(horizon)

    run(postgres_dsns, test)


def test_a_refusal_undoes_its_rows_and_keeps_the_connection(postgres_dsns: Dsns) -> None:
    async def refuse(session: Session) -> None:
        await session.run(ADD, (SITE, "refused", 1))
        raise Conflict("no")

    async def test(world: World) -> None:
        backends = set()
        for name in ("a", "b"):
            with pytest.raises(Conflict):
                await world.write(refuse)
            await world.write(add(name))
            rows = await world.read(lambda session: session.fetch("SELECT pg_backend_pid()"))
            backends.add(rows[0][0])
        assert await world.names() == ["a", "b"]
        assert len(backends) == 1

    run(postgres_dsns, test)


def test_who_waits_for_commits_is_told_of_each_and_of_no_refusal(postgres_dsns: Dsns) -> None:
    async def refuse(session: Session) -> None:
        raise Conflict("no")

    async def test(world: World) -> None:
        told: list[int] = []
        world.storage.on_commit(lambda: told.append(1))
        await world.write(add("a"))
        with pytest.raises(Conflict):
            await world.write(refuse)
        await world.write(add("b"))
        assert len(told) == 2

    run(postgres_dsns, test)


# ---- isolation


def test_write_skew_is_prevented_by_a_second_try(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        """Two are on call and each may go when another stays: both look, then both would go."""
        for name in ("ann", "bob"):
            await world.write(add(name))
        tries: list[int] = []

        def go(name: str) -> Body:
            async def body(session: Session) -> bool:
                tries.append(1)
                on_call = "SELECT name FROM things WHERE site = $1 AND n = 1"
                others = [row[0] for row in await session.fetch(on_call, (SITE,))]
                await session.fetch(PAUSE)
                if len(others) < 2:
                    return False
                await session.run(SET, (SITE, name, 0))
                return True

            return body

        async with world.gate():
            both = [asyncio.create_task(world.write(go(name))) for name in ("ann", "bob")]
            await world.paused(2)
        went = [(await task).value for task in both]
        assert sorted(went) == [False, True]
        assert len(tries) == 3
        assert await world.door.fetchval("SELECT sum(n) FROM things") == 1

    run(postgres_dsns, test)


def test_a_lost_update_is_prevented_by_a_second_try(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        await world.write(add("mug", 10))
        tries: list[int] = []
        async with world.gate():
            both = [
                asyncio.create_task(world.write(take_one("mug", tries, pause=True)))
                for _ in range(2)
            ]
            await world.paused(2)
        assert sorted([(await task).value for task in both]) == [8, 9]
        assert len(tries) == 3
        assert await world.level("mug") == 8

    run(postgres_dsns, test)


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_conflicts_are_retried(postgres_dsns: Dsns, code: str) -> None:
    async def test(world: World) -> None:
        tries: list[int] = []
        assert (await world.write(raising(code, 3, tries))).value == "done"
        assert len(tries) == 4
        assert await world.names() == ["row"]

    run(postgres_dsns, test)


def test_conflicts_that_outlast_the_deadline_are_overload(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        tries: list[int] = []
        with pytest.raises(Overloaded, match="same rows"):
            await world.write(raising("40001", 10**9, tries), 0.4)
        assert 3 <= len(tries) < 100  # it waits longer each time
        assert await world.names() == []

    run(postgres_dsns, test)


def test_a_body_that_swallows_a_conflict_begins_again_all_the_same(postgres_dsns: Dsns) -> None:
    tries: list[int] = []

    async def body(session: Session) -> str:
        try:
            return str(await raising("40001", 1, tries)(session))
        except Exception:
            return "swallowed"

    async def test(world: World) -> None:
        assert (await world.write(body)).value == "done"
        assert len(tries) == 2

    run(postgres_dsns, test)


def test_a_conflict_at_the_commit_is_retried_on_the_same_connection(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        await world.storage.apply(
            [
                "CREATE SEQUENCE tries",
                "GRANT USAGE ON SEQUENCE tries TO hansa_app",
                "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " IF nextval('tries') < 3 THEN RAISE EXCEPTION 'no' USING ERRCODE = '40001';"
                " END IF; RETURN NULL; END $$",
                "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON things DEFERRABLE INITIALLY"
                " DEFERRED FOR EACH ROW EXECUTE FUNCTION late()",
            ]
        )
        backends: list[int] = []

        async def body(session: Session) -> None:
            backends.append((await session.fetch("SELECT pg_backend_pid()"))[0][0])
            await session.run(ADD, (SITE, "mug", 1))

        await world.write(body)
        assert len(backends) == 3
        assert len(set(backends)) == 1
        assert await world.names() == ["mug"]

    run(postgres_dsns, test)


def test_a_mistake_in_the_program_is_told_at_once(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        for sql, args in (("SELECT nothing", ()), (LEVEL, (SITE,)), (LEVEL, (SITE, 5))):
            tries: list[int] = []

            async def body(
                session: Session, sql: str = sql, args: Any = args, tries: list[int] = tries
            ) -> None:
                tries.append(1)
                await session.fetch(sql, args)

            with pytest.raises(Exception, match=r"nothing|argument") as error:
                await world.write(body)
            assert type(error.value).__module__.startswith("asyncpg")
            assert len(tries) == 1
            with pytest.raises(type(error.value)):
                await world.read(body)
        assert (await world.write(add("fine"))).value == "fine"

    run(postgres_dsns, test)


def test_a_changed_schema_is_met_by_planning_anew(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        await world.write(add("mug", 7))
        tries: list[int] = []

        async def body(session: Session) -> Any:
            tries.append(1)
            return (await session.fetch("SELECT * FROM things WHERE site = $1", (SITE,)))[0]

        assert tuple((await world.write(body)).value) == (SITE, "mug", 7)
        await world.storage.apply(["ALTER TABLE things ADD COLUMN more TEXT DEFAULT 'x'"])
        assert tuple((await world.write(body)).value) == (SITE, "mug", 7, "x")
        assert tuple(await world.read(body)) == (SITE, "mug", 7, "x")
        await world.storage.apply(["ALTER TABLE things DROP COLUMN more"])
        assert tuple(await world.read(body)) == (SITE, "mug", 7)

    run(postgres_dsns, test, pool_max=1)


# ---- turns


def test_commands_of_one_key_take_turns_and_none_is_undone(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        await world.write(add("mug", 60))
        tries: list[int] = []
        done = await asyncio.gather(
            *(world.write(take_one("mug", tries), serial_by="mug") for _ in range(60))
        )
        assert [one.value for one in done] == list(range(59, -1, -1))  # first come, first served
        assert len(tries) == 60

    run(postgres_dsns, test)


def test_without_a_key_the_result_is_as_right(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        await world.write(add("mug", 60))
        tries: list[int] = []
        done = await asyncio.gather(*(world.write(take_one("mug", tries)) for _ in range(60)))
        assert sorted(one.value for one in done) == list(range(60))

    run(postgres_dsns, test)


def test_other_keys_do_not_wait(postgres_dsns: Dsns) -> None:
    async def pause(session: Session) -> None:
        await session.fetch(PAUSE)

    async def test(world: World) -> None:
        async with world.gate():
            waiting = [
                asyncio.create_task(world.write(pause, serial_by=key)) for key in ("a", "a", "b")
            ]
            await world.paused(2)
            await world.write(add("mug"), serial_by="c")
            assert len(await world.paused(2)) == 2
        await asyncio.gather(*waiting)

    run(postgres_dsns, test)


def test_a_turn_is_not_lost_with_whom_it_was_for(
    postgres_dsns: Dsns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are cancelled, some late, one is over the limit, one is refused; the rest goes on."""
    monkeypatch.setattr(queues, "WAITING_MAX", 3)

    async def pause(session: Session) -> None:
        await session.fetch(PAUSE)
        raise Conflict("no")

    async def test(world: World) -> None:
        async with world.gate():
            first = asyncio.create_task(world.write(pause, serial_by="k"))
            await world.paused(1)
            cancelled = asyncio.create_task(world.write(add("cancelled"), serial_by="k"))
            late = asyncio.create_task(world.write(add("late"), 0.05, serial_by="k"))
            last = asyncio.create_task(world.write(add("last"), serial_by="k"))
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await world.write(add("over"), serial_by="k")
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            with pytest.raises(DeadlineExceeded):
                await late
        with pytest.raises(Conflict):
            await first
        await last
        assert await world.names() == ["last"]
        assert not vars(world.storage._queues)["_lines"]

    run(postgres_dsns, test)


def test_a_turn_that_comes_with_the_cancelling_goes_to_the_next() -> None:
    async def main() -> None:
        lines = queues.Queues()
        order: list[str] = []

        async def take(name: str) -> None:
            async with lines.turn("k", asyncio.get_running_loop().time() + 60):
                order.append(name)
                await asyncio.sleep(0)

        async with lines.turn("k", asyncio.get_running_loop().time() + 60):
            second, third = (asyncio.create_task(take(name)) for name in ("second", "third"))
            await asyncio.sleep(0)
        second.cancel()  # its turn was given in leaving the block; it has not run since
        await asyncio.gather(second, third, return_exceptions=True)
        assert order == ["third"]
        assert not vars(lines)["_lines"]

    asyncio.run(main())


# ---- what a command may await


def test_a_command_may_wait_for_its_database_only(postgres_dsns: Dsns) -> None:
    async def sleeps(session: Session) -> None:
        await session.run(ADD, (SITE, "sleeps", 1))
        await asyncio.sleep(0)

    async def gathers(session: Session) -> None:
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))

    async def test(world: World) -> None:
        for body in (sleeps, gathers):
            with pytest.raises(CommandSuspended, match="prepare"):
                await world.write(body)
        await world.write(add("after"))
        assert await world.names() == ["after"]
        assert await world.busy() == 0

    run(postgres_dsns, test, pool_max=1)


def test_a_session_ends_with_its_command(postgres_dsns: Dsns) -> None:
    kept: list[Session] = []

    async def keep(session: Session) -> None:
        kept.append(session)

    async def late(session: Session) -> None:
        await kept[0].run(ADD, (SITE, "late", 1))

    async def test(world: World) -> None:
        await world.write(keep)
        with pytest.raises(RuntimeError, match="ended"):
            await world.write(late)
        await world.read(keep)
        with pytest.raises(RuntimeError, match="ended"):
            await kept[1].fetch("SELECT 1")
        assert await world.names() == []

    run(postgres_dsns, test)


# ---- deadlines


def test_a_late_command_leaves_nothing_behind(postgres_dsns: Dsns) -> None:
    async def slow(session: Session) -> None:
        await session.run(ADD, (SITE, "slow", 1))
        await session.fetch("SELECT pg_sleep(60)")

    async def between(session: Session) -> None:
        await session.run(ADD, (SITE, "between", 1))
        session.deadline = 0.0
        await session.run(ADD, (SITE, "never", 1))

    async def swallows(session: Session) -> None:
        try:
            await slow(session)
        except DeadlineExceeded:
            return

    async def test(world: World) -> None:
        for body in (slow, between, swallows):
            with pytest.raises(DeadlineExceeded):
                await world.write(body, 0.2)
            await world.at_rest()  # the server was told, too
        with pytest.raises(DeadlineExceeded):
            await world.write(add("before"), -1)
        await world.write(add("after"))
        assert await world.names() == ["after"]

    run(postgres_dsns, test, pool_max=1)


def test_a_cancelled_command_leaves_nothing_behind(postgres_dsns: Dsns) -> None:
    async def slow(session: Session) -> None:
        await session.run(ADD, (SITE, "slow", 1))
        await session.fetch(PAUSE)

    async def test(world: World) -> None:
        async with world.gate():
            task = asyncio.create_task(world.write(slow))
            backends = await world.paused(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await world.at_rest()
        await world.write(add("after"))
        assert await world.names() == ["after"]
        rows = await world.read(lambda session: session.fetch("SELECT pg_backend_pid()"))
        assert [rows[0][0]] == backends  # the connection was put right, not thrown away

    run(postgres_dsns, test, pool_max=1)
