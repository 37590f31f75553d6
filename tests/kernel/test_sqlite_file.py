"""The SQLite engine and its file: schema, write-ahead log, other programs' locks, one owner."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from time import monotonic
from typing import Any

import apsw
import pytest

import hansa.kernel.sqlite
from hansa.kernel.problems import Overloaded, StorageFailed
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.sqlite.connection import WAL_BYTES_MAX
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


# ---- schema


def test_a_script_is_applied_whole_or_not_at_all(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        with pytest.raises(apsw.SQLError):
            await storage.apply(["CREATE TABLE a (x)", "CREATE TABLE things (x)"])
        await storage.apply(["CREATE TABLE a (x)"])

    run(tmp_path, test)


def test_a_table_is_rebuilt_with_the_rows_that_refer_to_it(tmp_path: Path) -> None:
    rebuild = [
        "CREATE TABLE new (id INTEGER PRIMARY KEY, name TEXT, n INTEGER, more TEXT)",
        "INSERT INTO new (id, name, n) SELECT id, name, n FROM things",
        "DROP TABLE things",
        "ALTER TABLE new RENAME TO things",
    ]

    async def test(storage: SqliteStorage) -> None:
        await write(storage, add("a"))
        await write(storage, lambda s: s.run("INSERT INTO parts (thing) VALUES (1)"))
        with pytest.raises(ConstraintFailed):
            await storage.apply([*rebuild, "DELETE FROM things"])
        await storage.apply(rebuild)
        assert await names(storage) == ["a"]
        with pytest.raises(ConstraintFailed):
            await write(storage, lambda s: s.run("INSERT INTO parts (thing) VALUES (2)"))

    run(tmp_path, test)


def test_a_script_waits_for_its_turn_among_commands(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        writes = [asyncio.create_task(write(storage, add(f"t{i}"))) for i in range(300)]
        await asyncio.gather(storage.apply(["CREATE TABLE a (x)"]), *writes)
        assert len(await names(storage)) == 300

    run(tmp_path, test)


# ---- the log of the file, and its locks


def test_another_programs_lock_is_waited_for_off_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(storage: SqliteStorage) -> None:
        other = apsw.Connection(storage.path)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(write(storage, add("a")))
        for _ in range(5):
            await asyncio.sleep(0)
        assert await names(storage) == []
        other.execute("ROLLBACK")
        await waiting
        monkeypatch.setattr("hansa.kernel.sqlite.writer.LOCK_WAIT_MS", 1)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Overloaded, match="Another program"):
            await write(storage, add("b"))
        other.close()
        await write(storage, add("c"))
        assert await names(storage) == ["a", "c"]

    run(tmp_path, test)


def test_a_log_that_a_query_still_reads_grows_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansa.kernel.sqlite.checkpoints.READERS_WAIT_MS", 1)

    async def test(storage: SqliteStorage) -> None:
        await write(storage, add("a"))

        async def body(session: Session) -> None:
            await session.fetch(NAMES)
            await write(storage, add("b"))
            storage._checkpoints._ended(WAL_BYTES_MAX + 1, None)
            await write(storage, add("c"))
            await write(storage, add("d"))
            assert storage._checkpoints._restart_above > WAL_BYTES_MAX
            assert await session.fetch(NAMES) == [("a",)]

        await read(storage, body)
        assert await names(storage) == ["a", "b", "c", "d"]

    run(tmp_path, test)


def test_above_its_limit_the_log_begins_anew(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        checkpoints = storage._checkpoints
        for i in range(30):
            await write(storage, add(f"t{i}"))
        log = tmp_path / "cell.db-wal"
        before = log.stat().st_size
        checkpoints._ended(WAL_BYTES_MAX + 1, None)
        for i in range(10):
            await write(storage, add(f"after{i}"))
        assert log.stat().st_size == before
        assert await checkpoints.worker.run(checkpoints._passive) < before

    run(tmp_path, test)


def test_checkpoints_are_safe_and_keep_no_schema(tmp_path: Path) -> None:
    async def main() -> None:
        storage = SqliteStorage(tmp_path / "cell.db")
        await storage.open()
        try:
            await storage.apply(SCHEMA)
            behind = storage._checkpoints.connection
            logged, moved = behind.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            assert 0 < logged == moved
            assert behind.status(apsw.SQLITE_DBSTATUS_SCHEMA_USED)[0] == 0
            assert behind.pragma("synchronous") == 2  # FULL
        finally:
            await storage.close()

    asyncio.run(main())


def test_an_idle_storage_plans_nothing(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        checkpoints = storage._checkpoints
        await write(storage, add("a"))
        planned = checkpoints._planned
        assert planned is not None
        planned.cancel()
        checkpoints._begin()
        await checkpoints.worker.run(lambda: None)
        assert await names(storage) == ["a"]
        assert checkpoints._planned is None

    run(tmp_path, test)


# ---- one owner


def test_a_second_storage_on_the_file_is_refused(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage) -> None:
        with pytest.raises(StorageFailed, match="in use by process"):
            await SqliteStorage(storage.path).open()

    run(tmp_path, test)
    run(tmp_path, test)  # and it was let go of


def test_a_second_process_on_the_file_is_refused(tmp_path: Path) -> None:
    root = Path(hansa.kernel.sqlite.__file__).parents[3]
    code = (
        "import asyncio, sys\n"
        "from hansa.kernel.sqlite import SqliteStorage\n"
        "asyncio.run(SqliteStorage(sys.argv[1]).open())\n"
    )

    async def test(storage: SqliteStorage) -> None:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", code, storage.path],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert "One process owns a SQLite file" in done.stderr

    run(tmp_path, test)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cell.db").write_bytes(b"not a database, but long enough to be read as one" * 99)
    (tmp_path / "made").touch()

    async def test(storage: SqliteStorage) -> None:
        raise AssertionError

    with pytest.raises(StorageFailed, match="cannot be opened"):
        run(tmp_path, test)


CHECKPOINT_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as shared:  # sqlite.org/walformat.html section 2.3: byte 121
    fcntl.lockf(shared, fcntl.LOCK_EX, 1, 121)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_scrubbed_file_and_its_log_have_nothing_of_what_was_erased(tmp_path: Path) -> None:
    """Also while a checkpoint runs elsewhere, for which SQLite itself does not wait."""
    file, log = tmp_path / "cell.db", tmp_path / "cell.db-wal"

    async def test(storage: SqliteStorage) -> None:
        for number in range(50):
            await write(storage, add(f"ann.only {number}"))

        async def erase(session: Session) -> None:
            await session.run("DELETE FROM things")

        await write(storage, erase)
        held = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHECKPOINT_LOCK, f"{file}-shm",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert held.stdout is not None
        assert held.stdin is not None
        assert await held.stdout.readline() == b"held\n"
        before = log.stat().st_mtime_ns
        scrubbing = asyncio.create_task(storage.scrub())
        async with asyncio.timeout(30):
            while log.stat().st_mtime_ns == before:
                await asyncio.to_thread(int)
        held.stdin.close()
        await scrubbing
        assert await held.wait() == 0
        assert log.stat().st_size == 0
        assert b"ann.only" not in file.read_bytes()
        assert await names(storage) == []

    run(tmp_path, test)
