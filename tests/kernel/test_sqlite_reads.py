"""How the SQLite engine reads: snapshots, slow statements off the loop, deadlines, limits."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import apsw
import pytest

from hansa.kernel.problems import DeadlineExceeded, Overloaded
from hansa.kernel.sqlite import SqliteStorage, readers
from hansa.kernel.sqlite.readers import Reader
from hansa.kernel.sqlite.thread import Worker
from hansa.kernel.storage import Committed, Session

SCHEMA = [
    "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INTEGER CHECK (n >= 0))",
    "CREATE TABLE parts (id INTEGER PRIMARY KEY, thing INTEGER NOT NULL REFERENCES things (id))",
]
ADD = "INSERT INTO things (name, n) VALUES (?1, ?2)"
NAMES = "SELECT name FROM things ORDER BY id"
GOING = (
    "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE going()) "
    "SELECT count(*) FROM r"
)
"""A read that lasts until the gate opens."""


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """A gate, and on every connection opened meanwhile the functions going() and hold()."""
    event = threading.Event()

    def hook(connection: apsw.Connection) -> None:
        connection.create_scalar_function("going", lambda *_: not event.is_set(), 0)
        connection.create_scalar_function("hold", lambda *_: event.wait(30), 0)

    apsw.connection_hooks.append(hook)
    yield event
    apsw.connection_hooks.remove(hook)
    event.set()


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


# ---- slow statements


def test_a_slow_statement_of_a_command_runs_in_the_thread(
    tmp_path: Path, gate: threading.Event
) -> None:
    async def body(session: Session) -> list[Any]:
        await session.run(ADD, ("open", 1))
        await session.fetch("SELECT hold()")
        return list(await session.fetch(NAMES))

    async def test(storage: SqliteStorage) -> None:
        storage._writer.pace.note("SELECT hold()", 1.0)  # known to be slow
        command = asyncio.create_task(write(storage, body))
        sibling = asyncio.create_task(write(storage, add("sibling")))
        for _ in range(5):
            await asyncio.sleep(0)
        # The batch is open in the thread; the loop serves, and nobody sees the batch's rows.
        assert await names(storage) == []
        assert not command.done() and not sibling.done()
        gate.set()
        assert (await command).value == [("open",)]
        await sibling
        assert await names(storage) == ["open", "sibling"]

    run(tmp_path, test)


def test_a_slow_read_moves_to_a_thread_and_the_loop_keeps_serving(
    tmp_path: Path, gate: threading.Event
) -> None:
    async def test(storage: SqliteStorage) -> None:
        slow = asyncio.create_task(read(storage, lambda session: session.fetch(GOING)))
        await asyncio.sleep(0)  # it was stopped on the loop; now it runs in the thread
        for i in range(10):
            await write(storage, add(f"t{i}"))
        assert len(await names(storage)) == 10
        assert not slow.done()
        gate.set()
        assert (await slow)[0][0] > 0
        assert GOING in storage._readers.pace.watched

    run(tmp_path, test)


def test_a_statement_that_became_fast_comes_back_to_the_loop(
    tmp_path: Path, gate: threading.Event
) -> None:
    async def test(storage: SqliteStorage) -> None:
        gate.set()
        pace = storage._readers.pace
        pace.stopped(GOING)
        for _ in range(50):
            await read(storage, lambda session: session.fetch(GOING))
        assert GOING not in pace.watched

    run(tmp_path, test)


def test_a_query_may_have_several_slow_statements_at_once(
    tmp_path: Path, gate: threading.Event
) -> None:
    async def body(session: Session) -> list[Any]:
        both = asyncio.gather(*(session.fetch(GOING) for _ in range(3)), session.fetch(NAMES))
        asyncio.get_running_loop().call_soon(gate.set)
        return await both

    async def test(storage: SqliteStorage) -> None:
        await write(storage, add("a"))
        answers = await read(storage, body)
        assert answers[3] == [("a",)]

    run(tmp_path, test)


def test_a_query_that_is_cancelled_stops_its_statement(
    tmp_path: Path, gate: threading.Event
) -> None:
    async def test(storage: SqliteStorage) -> None:
        slow = asyncio.create_task(read(storage, lambda session: session.fetch(GOING)))
        await asyncio.sleep(0)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        # The only reader comes back although the gate stays shut.
        assert await names(storage) == []

    run(tmp_path, test, readers=1, readers_max=1)


# ---- snapshots


def test_a_query_sees_one_moment(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        await write(storage, add("a"))

        async def body(session: Session) -> None:
            assert await session.fetch(NAMES) == [("a",)]
            await write(storage, add("b"))
            assert await session.fetch(NAMES) == [("a",)]

        await read(storage, body)
        assert await names(storage) == ["a", "b"]

    run(tmp_path, test)


def test_a_snapshot_begins_with_the_first_statement(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        async def body(session: Session) -> None:
            await write(storage, add("a"))
            assert await session.fetch(NAMES) == [("a",)]

        await read(storage, body)

    run(tmp_path, test)


def test_a_reader_is_lent_without_the_time_of_its_last_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instructions are counted over all runs of a statement, so one snapshot in some hundreds began
    or ended with a look at the clock, and was stopped for the time of the query before it."""
    monkeypatch.setattr(readers, "STEPS_PER_TICK", 1)
    opened: list[Reader] = []

    def opening(connection: apsw.Connection, worker: Worker) -> Reader:
        opened.append(Reader(connection, worker))
        return opened[-1]

    monkeypatch.setattr(readers, "Reader", opening)

    async def test(storage: SqliteStorage) -> None:
        async def body(session: Session) -> None:
            await session.fetch(NAMES)
            await session.fetch(NAMES)
            for one in opened:
                one.until = 0.0

        await read(storage, body)
        known = len(opened)
        await read(storage, body)
        assert len(opened) == known  # none had to be thrown away

    run(tmp_path, test)


def test_queries_inside_queries_open_more_readers(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        async def outer(session: Session) -> list[str]:
            await session.fetch(NAMES)
            return await names(storage)

        await asyncio.gather(*(read(storage, outer) for _ in range(8)))

    run(tmp_path, test, readers=2, readers_max=16)


def test_a_query_that_finds_no_reader_is_refused_at_its_deadline(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        async def outer(session: Session) -> None:
            await session.fetch(NAMES)
            with pytest.raises(Overloaded):
                await read(storage, lambda inner: inner.fetch(NAMES), deadline=monotonic() + 0.01)

        await read(storage, outer)
        assert await names(storage) == []

    run(tmp_path, test, readers=1, readers_max=1)


# ---- deadlines and limits


def test_a_command_that_is_late_does_not_begin(tmp_path: Path) -> None:
    begun: list[int] = []

    async def body(session: Session) -> None:
        begun.append(1)

    async def test(storage: SqliteStorage) -> None:
        with pytest.raises(DeadlineExceeded):
            await write(storage, body, deadline=monotonic() - 1)
        assert begun == []

    run(tmp_path, test)


def test_a_deadline_is_checked_between_statements(tmp_path: Path) -> None:
    async def body(session: Session) -> None:
        await session.run(ADD, ("a", 1))
        while monotonic() <= session.deadline:
            pass
        await session.run(ADD, ("b", 1))

    async def test(storage: SqliteStorage) -> None:
        with pytest.raises(DeadlineExceeded):
            await write(storage, body, deadline=monotonic() + 0.02)
        with pytest.raises(DeadlineExceeded):
            await read(storage, late_read, deadline=monotonic() + 0.02)
        assert await names(storage) == []

    async def late_read(session: Session) -> None:
        await session.fetch(NAMES)
        while monotonic() <= session.deadline:
            pass
        await session.fetch(NAMES)

    run(tmp_path, test)


def test_a_slow_read_ends_at_its_deadline(tmp_path: Path, gate: threading.Event) -> None:
    async def test(storage: SqliteStorage) -> None:
        with pytest.raises(DeadlineExceeded):
            await read(storage, lambda session: session.fetch(GOING), deadline=monotonic() + 0.05)
        assert await names(storage) == []

    run(tmp_path, test, readers=1, readers_max=1)


def test_the_queue_is_bounded(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        answers = await asyncio.gather(
            *(write(storage, add(f"t{i}")) for i in range(5)), return_exceptions=True
        )
        assert [isinstance(answer, Overloaded) for answer in answers] == [False] * 3 + [True] * 2
        await write(storage, add("later"))

    run(tmp_path, test, queue_max=3)


def test_a_snapshot_begins_whatever_the_time_of_the_reader_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is looked at after some steps of SQLite's machine, counted over statements: it may
    be in the BEGIN, when the time given is still that of the statement before."""
    monkeypatch.setattr(readers, "STEPS_PER_TICK", 1)

    async def test(storage: SqliteStorage) -> None:
        async def both(session: Session) -> int:
            return len(await session.fetch(NAMES)) + len(await session.fetch(NAMES))

        for _ in range(3):
            found = await storage.read(both, site="site_a", deadline=monotonic() + 30)
            assert found == 0

    run(tmp_path, test)
