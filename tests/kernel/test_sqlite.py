"""What the SQLite engine promises of commands: batches, refusals, positions, errors."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from time import monotonic
from typing import Any

import apsw
import pytest

from hansa.kernel.problems import CommandSuspended, Conflict, Invalid, Overloaded
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import Committed, ConstraintFailed, Session

SCHEMA = [
    "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INTEGER CHECK (n >= 0))",
    "CREATE TABLE parts (id INTEGER PRIMARY KEY, thing INTEGER NOT NULL REFERENCES things (id))",
]
ADD = "INSERT INTO things (name, n) VALUES (?1, ?2)"
NAMES = "SELECT name FROM things ORDER BY id"


Test = Callable[[SqliteStorage], Awaitable[None]]


def run(folder: Path, test: Test, **options: Any) -> None:
    """Run `test` with an open storage in `folder` that has the tables."""

    async def main() -> None:
        storage = SqliteStorage(folder / "cell.db", synchronous="OFF", **options)
        await storage.open()
        try:
            if not (folder / "made").exists():
                await storage.apply(SCHEMA)
                (folder / "made").touch()
            await test(storage)
        finally:
            await storage.close()

    asyncio.run(main())


def soon() -> float:
    return monotonic() + 30


def add(name: str, n: int = 1) -> Callable[[Session], Coroutine[Any, Any, str]]:
    async def body(session: Session) -> str:
        await session.run(ADD, (name, n))
        return name

    return body


async def write(storage: SqliteStorage, body: Any, deadline: float = 0.0) -> Committed[Any]:
    return await storage.write(body, site="s", deadline=deadline or soon())


async def read(storage: SqliteStorage, body: Any, deadline: float = 0.0) -> Any:
    return await storage.read(body, site="s", deadline=deadline or soon())


async def names(storage: SqliteStorage) -> list[str]:
    rows = await read(storage, lambda session: session.fetch(NAMES))
    return [row[0] for row in rows]


# ---- batches


def test_what_is_written_is_read(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        committed = await write(storage, add("mug"))
        assert committed.value == "mug"
        assert await names(storage) == ["mug"]

    run(tmp_path, test)


def test_commands_that_queue_together_commit_together(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        commits: list[int] = []
        storage.on_commit(lambda: commits.append(1))
        many = [write(storage, add(f"t{i}")) for i in range(10)]
        answers = await asyncio.gather(*many)
        assert [answer.value for answer in answers] == [f"t{i}" for i in range(10)]
        await asyncio.sleep(0)
        assert len(commits) < 10
        assert len(await names(storage)) == 10

    run(tmp_path, test)


def test_a_batch_takes_in_256_commands_at_most(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        commits: list[int] = []
        storage.on_commit(lambda: commits.append(1))
        await asyncio.gather(*(write(storage, add(f"t{i}")) for i in range(600)))
        await asyncio.sleep(0)
        assert len(commits) >= 3
        assert len(await names(storage)) == 600

    run(tmp_path, test)


def test_a_refusal_undoes_its_own_rows_and_no_others(tmp_path: Path) -> None:
    async def refuse(session: Session) -> None:
        await session.run(ADD, ("refused", 1))
        raise Conflict("no")

    async def test(storage: SqliteStorage) -> None:
        answers = await asyncio.gather(
            write(storage, add("before")),
            write(storage, refuse),
            write(storage, add("after")),
            return_exceptions=True,
        )
        assert isinstance(answers[1], Conflict)
        assert await names(storage) == ["before", "after"]

    run(tmp_path, test)


def test_a_refusal_is_told_after_what_it_rests_on_is_committed(tmp_path: Path) -> None:
    async def refuse(session: Session) -> None:
        assert await session.fetch(NAMES) == [("first",)]  # its sibling's, not yet durable
        raise Conflict("there is one")

    async def test(storage: SqliteStorage) -> None:
        order: list[str] = []
        storage.on_commit(lambda: order.append("committed"))
        first = asyncio.create_task(write(storage, add("first")))
        second = asyncio.create_task(write(storage, refuse))
        second.add_done_callback(lambda _: order.append("refused"))
        with pytest.raises(Conflict):
            await second
        assert await names(storage) == ["first"]
        await first
        await asyncio.sleep(0)
        assert sorted(order) == ["committed", "refused"]

    run(tmp_path, test)


def test_a_body_may_catch_a_constraint_and_go_on(tmp_path: Path) -> None:
    async def body(session: Session) -> str:
        await session.run(ADD, ("a", 1))
        try:
            await session.run(ADD, ("a", 2))
        except ConstraintFailed:
            await session.run(ADD, ("b", 2))
        return "done"

    async def test(storage: SqliteStorage) -> None:
        assert (await write(storage, body)).value == "done"
        assert await names(storage) == ["a", "b"]

    run(tmp_path, test)


def test_run_tells_how_many_rows_changed_and_fetch_returns_rows(tmp_path: Path) -> None:
    async def body(session: Session) -> None:
        for i in range(3):
            await session.run(ADD, (f"t{i}", i))
        assert await session.run("UPDATE things SET n = n + 1 WHERE n > ?1", (0,)) == 2
        assert await session.run("UPDATE things SET n = 5 WHERE n > 100") == 0
        added = await session.fetch(ADD + " RETURNING id, name", ("new", 1))
        assert added == [(4, "new")]
        assert await session.run("DELETE FROM things WHERE id = 4 RETURNING id") == 1

    async def test(storage: SqliteStorage) -> None:
        await write(storage, body)

    run(tmp_path, test)


def test_a_command_keeps_the_context_of_its_caller(tmp_path: Path) -> None:
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace")

    async def body(session: Session) -> str:
        await session.run(ADD, (trace.get(), 1))
        return trace.get()

    async def caller(storage: SqliteStorage, name: str) -> None:
        trace.set(name)
        assert (await write(storage, body)).value == name

    async def test(storage: SqliteStorage) -> None:
        await asyncio.gather(*(caller(storage, f"trace-{i}") for i in range(5)))

    run(tmp_path, test)


def test_a_caller_that_has_gone_is_not_served(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        gone = asyncio.create_task(write(storage, add("gone")))
        stays = asyncio.create_task(write(storage, add("stays")))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        assert await names(storage) == ["stays"]

    run(tmp_path, test)


def test_closing_finishes_what_is_queued_and_refuses_more(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        queued = [asyncio.create_task(write(storage, add(f"t{i}"))) for i in range(20)]
        await asyncio.sleep(0)
        await storage.close()
        assert len([await one for one in queued]) == 20
        with pytest.raises(Overloaded):
            await write(storage, add("late"))

    run(tmp_path, test)
    run(tmp_path, lambda storage: _expect_count(storage, 20))


async def _expect_count(storage: SqliteStorage, count: int) -> None:
    assert len(await names(storage)) == count


# ---- positions


def test_positions_never_fall_also_over_a_restart(tmp_path: Path) -> None:
    events = "CREATE TABLE hansa_events (position INTEGER PRIMARY KEY AUTOINCREMENT, data TEXT)"
    seen: list[int] = []

    async def emit(session: Session) -> None:
        await session.run("INSERT INTO hansa_events (data) VALUES ('x')")

    async def forget(session: Session) -> None:
        await session.run("DELETE FROM hansa_events")

    async def first(storage: SqliteStorage) -> None:
        assert (await write(storage, add("before the log"))).position == 0
        await storage.apply([events])
        for body in (emit, emit, add("no event"), emit, forget):
            seen.append((await write(storage, body)).position)

    async def second(storage: SqliteStorage) -> None:
        seen.append((await write(storage, add("after"))).position)
        seen.append((await write(storage, emit)).position)

    run(tmp_path, first)
    run(tmp_path, second)
    assert seen == [1, 2, 2, 3, 3, 3, 4]


def test_a_refused_event_gives_no_position(tmp_path: Path) -> None:
    events = "CREATE TABLE hansa_events (position INTEGER PRIMARY KEY AUTOINCREMENT, data TEXT)"

    async def refuse(session: Session) -> None:
        await session.run("INSERT INTO hansa_events (data) VALUES ('x')")
        raise Conflict("no")

    async def test(storage: SqliteStorage) -> None:
        await storage.apply([events])
        with pytest.raises(Conflict):
            await write(storage, refuse)
        assert (await write(storage, add("a"))).position == 0

    run(tmp_path, test)


# ---- what a command may not do


async def _sleeps(session: Session) -> None:
    await session.run(ADD, ("held", 1))
    await asyncio.sleep(0)


async def _waits_for_a_future(session: Session) -> None:
    await session.run(ADD, ("held", 1))
    await asyncio.get_running_loop().create_future()


async def _gathers(session: Session) -> None:
    await asyncio.gather(session.run(ADD, ("held", 1)), session.run(ADD, ("held too", 1)))


async def _times_out(session: Session) -> None:
    async with asyncio.timeout(1):
        await session.run(ADD, ("held", 1))


@pytest.mark.parametrize("body", [_sleeps, _waits_for_a_future, _gathers])
def test_a_command_may_await_its_session_only(tmp_path: Path, body: Any) -> None:
    async def test(storage: SqliteStorage) -> None:
        answers = await asyncio.gather(
            write(storage, add("a")), write(storage, body), write(storage, add("b")),
            return_exceptions=True,
        )  # fmt: skip
        assert isinstance(answers[1], CommandSuspended)
        assert await names(storage) == ["a", "b"]

    run(tmp_path, test)


def test_a_command_stands_in_nobodys_task(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        with pytest.raises(RuntimeError):
            await write(storage, _times_out)

    run(tmp_path, test)


def test_a_session_is_of_no_use_after_its_command(tmp_path: Path) -> None:
    kept: list[Session] = []

    async def keep(session: Session) -> None:
        await session.run(ADD, ("a", 1))
        kept.append(session)

    async def test(storage: SqliteStorage) -> None:
        await write(storage, keep)
        with pytest.raises(RuntimeError, match="ended"):
            await kept[0].run(ADD, ("b", 1))
        await read(storage, keep_reading)
        with pytest.raises(RuntimeError, match="ended"):
            await kept[1].fetch(NAMES)

    async def keep_reading(session: Session) -> None:
        await session.fetch(NAMES)
        kept.append(session)

    run(tmp_path, test)


def test_a_query_cannot_write(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        with pytest.raises(apsw.ReadOnlyError):
            await read(storage, add("a"))
        assert await names(storage) == []

    run(tmp_path, test)


# ---- errors


@pytest.mark.parametrize(
    ("sql", "kind", "constraint"),
    [
        ("INSERT INTO things (name, n) VALUES ('a', 1)", "unique", "things.name"),
        ("INSERT INTO things (id) VALUES (1)", "unique", "things.id"),
        ("INSERT INTO things (name, n) VALUES ('b', -1)", "check", "n >= 0"),
        ("INSERT INTO parts (thing) VALUES (77)", "foreign", ""),
        ("INSERT INTO parts (thing) VALUES (NULL)", "null", "parts.thing"),
    ],
)
def test_a_constraint_is_told_by_kind_and_name(
    tmp_path: Path, sql: str, kind: str, constraint: str
) -> None:
    async def test(storage: SqliteStorage) -> None:
        await write(storage, add("a"))
        with pytest.raises(ConstraintFailed) as caught:
            await write(storage, lambda session: session.run(sql))
        assert (caught.value.kind, caught.value.constraint) == (kind, constraint)

    run(tmp_path, test)


def test_a_deferred_foreign_key_refuses_its_own_command_only(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        await storage.apply(
            ["CREATE TABLE d (t INTEGER REFERENCES things (id) DEFERRABLE INITIALLY DEFERRED)"]
        )
        answers = await asyncio.gather(
            write(storage, add("a")),
            write(storage, lambda session: session.run("INSERT INTO d VALUES (99)")),
            write(storage, add("b")),
            return_exceptions=True,
        )
        assert isinstance(answers[1], ConstraintFailed) and answers[1].kind == "foreign"
        assert await names(storage) == ["a", "b"]

    run(tmp_path, test)


def test_whole_numbers_have_64_bits(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        await write(storage, add("a", 2**63 - 1))
        rows = await read(storage, lambda session: session.fetch("SELECT n FROM things"))
        assert rows == [(2**63 - 1,)]
        with pytest.raises(Invalid):
            await write(storage, add("b", 2**63))

    run(tmp_path, test)
