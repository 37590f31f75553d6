"""A full disk, failing writes and syncs, kill -9 and power cuts: nothing acknowledged is lost.

Run as a program, this file is the process that is killed.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import monotonic
from typing import Any

import apsw
import pytest

import hansa.kernel.sqlite
from hansa.kernel.problems import Conflict, StorageFailed, StorageFull
from hansa.kernel.sqlite import SqliteStorage, checkpoints
from hansa.kernel.sqlite.connection import Synchronous
from hansa.kernel.storage import Session
from hansa.testing.faulty_disk import FaultyDisk

SCHEMA = [
    "CREATE TABLE things (id INTEGER PRIMARY KEY, data BLOB)",
    "CREATE TABLE ledger (id INTEGER PRIMARY KEY, thing INTEGER NOT NULL UNIQUE)",
]
THING = "INSERT INTO things (id, data) VALUES (?1, ?2)"
LEDGER = "INSERT INTO ledger (thing) VALUES (?1)"

Test = Callable[[SqliteStorage, FaultyDisk], Coroutine[Any, Any, None]]


def run(folder: Path, test: Test, **options: Any) -> None:
    """Run `test` on a storage whose disk obeys it; then check the file that it leaves."""
    disk = FaultyDisk(f"faulty-{folder.name}", seed=1)

    async def main() -> None:
        storage = SqliteStorage(folder / "cell.db", vfs=disk.name, **options)
        await storage.open()
        try:
            await storage.apply(SCHEMA)
            await test(storage, disk)
        finally:
            disk.heal()
            await storage.close()

    asyncio.run(main())
    assert whole(folder / "cell.db") is not None


def whole(path: Path, vfs: str | None = None) -> set[int]:
    """Return the ids that a file holds after recovery; its two tables must agree."""
    connection = apsw.Connection(os.fspath(path), vfs=vfs)
    try:
        assert connection.pragma("integrity_check") == "ok"
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'things'").fetchall():
            return set()
        things = {row[0] for row in connection.execute("SELECT id FROM things").fetchall()}
        ledger = {row[0] for row in connection.execute("SELECT thing FROM ledger").fetchall()}
        assert things == ledger
        return things  # type: ignore[return-value]  # they are whole numbers
    finally:
        connection.close()


def add(number: int, size: int = 10, runs: list[int] | None = None) -> Any:
    async def body(session: Session) -> int:
        if runs is not None:
            runs.append(number)
        await session.run(THING, (number, b"x" * size))
        await session.run(LEDGER, (number,))
        return number

    return body


async def write(storage: SqliteStorage, body: Any) -> Any:
    return (await storage.write(body, site="s", deadline=monotonic() + 60)).value


async def count(storage: SqliteStorage) -> int:
    rows = await storage.read(
        lambda session: session.fetch("SELECT count(*) FROM things"),
        site="s",
        deadline=monotonic() + 60,
    )
    return int(rows[0][0])


# ---- faults under a running storage


def test_a_sync_that_fails_once_is_made_good(tmp_path: Path) -> None:
    runs: list[int] = []

    async def test(storage: SqliteStorage, disk: FaultyDisk) -> None:
        disk.fail_sync()
        answers = await asyncio.gather(*(write(storage, add(i, runs=runs)) for i in range(10)))
        assert answers == list(range(10))
        assert runs == [*range(10), *range(10)]  # together in vain, then each alone
        assert await count(storage) == 10

    run(tmp_path, test)


def test_a_write_that_fails_in_the_commit_is_made_good(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage, disk: FaultyDisk) -> None:
        disk.fail_write(after=1)
        answers = await asyncio.gather(*(write(storage, add(i)) for i in range(10)))
        assert answers == list(range(10))

    run(tmp_path, test)


def test_a_command_alone_that_meets_the_error_is_told(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage, disk: FaultyDisk) -> None:
        disk.fail_sync()
        with pytest.raises(StorageFailed):
            await write(storage, add(1))
        assert await count(storage) == 0
        assert await write(storage, add(1)) == 1

    run(tmp_path, test)


def test_a_refusal_that_rested_on_a_lost_sibling_is_decided_anew(tmp_path: Path) -> None:
    async def only_if_empty(session: Session) -> str:
        if await session.fetch("SELECT 1 FROM things"):
            raise Conflict("there is one")
        await session.run(THING, (2, b""))
        await session.run(LEDGER, (2,))
        return "written"

    async def test(storage: SqliteStorage, disk: FaultyDisk) -> None:
        disk.fill_up(40_000)  # the first does not fit, neither in the batch nor alone
        answers = await asyncio.gather(
            write(storage, add(1, size=100_000)),
            write(storage, only_if_empty),
            return_exceptions=True,
        )
        assert isinstance(answers[0], StorageFull)
        assert answers[1] == "written"

    run(tmp_path, test)


def test_on_a_full_disk_what_is_acknowledged_is_there_and_nothing_else(tmp_path: Path) -> None:
    kept: set[int] = set()

    async def test(storage: SqliteStorage, disk: FaultyDisk) -> None:
        disk.fill_up(200_000)
        answers: list[Any] = []
        for start in range(0, 60, 20):
            answers += await asyncio.gather(
                *(write(storage, add(i, size=5_000)) for i in range(start, start + 20)),
                return_exceptions=True,
            )
        kept.update(answer for answer in answers if isinstance(answer, int))
        refused = [answer for answer in answers if not isinstance(answer, int)]
        assert kept and refused
        assert all(isinstance(answer, StorageFull) for answer in refused)
        assert await count(storage) == len(kept)
        disk.heal()
        kept.add(await write(storage, add(1000)))

    run(tmp_path, test)
    assert whole(tmp_path / "cell.db") == kept


def test_a_transaction_that_vanishes_in_the_middle_harms_one_command(tmp_path: Path) -> None:
    runs: list[int] = []

    async def test(storage: SqliteStorage, disk: FaultyDisk) -> None:
        disk.fill_up(600_000)
        # The page cache is too small for the big one: its rows are written before the commit, and
        # SQLite itself rolls the whole batch back when there is no room for them.
        sizes = [10, 10, 2_000_000, 10, 10]
        answers = await asyncio.gather(
            *(write(storage, add(i, size, runs)) for i, size in enumerate(sizes)),
            return_exceptions=True,
        )
        assert isinstance(answers[2], StorageFull)
        assert [answers[i] for i in (0, 1, 3, 4)] == [0, 1, 3, 4]
        assert runs.count(0) == 2
        assert await count(storage) == 4

    run(tmp_path, test, cache_kb=64)


def test_a_body_that_hides_the_loss_of_its_transaction_is_not_believed(tmp_path: Path) -> None:
    async def hides(session: Session) -> str:
        for number, size in ((50, 2_000_000), (51, 10)):
            try:
                await session.run(THING, (number, b"x" * size))
            except (StorageFull, RuntimeError):
                continue
        return "as if it were written"

    async def test(storage: SqliteStorage, disk: FaultyDisk) -> None:
        disk.fill_up(600_000)
        answers = await asyncio.gather(
            write(storage, add(1)), write(storage, hides), write(storage, add(2)),
            return_exceptions=True,
        )  # fmt: skip
        assert answers[0] == 1 and answers[2] == 2
        assert isinstance(answers[1], StorageFull)
        assert await count(storage) == 2

    run(tmp_path, test, cache_kb=64)


def test_a_checkpoint_that_fails_costs_nothing(tmp_path: Path) -> None:
    async def test(storage: SqliteStorage, disk: FaultyDisk) -> None:
        await write(storage, add(1))
        behind = storage._checkpoints
        disk.fill_up(0)
        with pytest.raises(apsw.FullError):
            await behind.worker.run(behind._passive)
        disk.heal()
        assert await write(storage, add(2)) == 2
        await behind.worker.run(behind._passive)
        assert await count(storage) == 2

    run(tmp_path, test)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_fails_answers_and_rows_agree(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    there: set[int] = set()

    def command(number: int) -> Any:
        async def body(session: Session) -> int:
            await add(number, size)(session)
            if refuses:
                raise Conflict("no")
            return number

        size, refuses = rng.choice([10, 500, 40_000]), rng.random() < 0.2
        return body

    async def test(storage: SqliteStorage, disk: FaultyDisk) -> None:
        for start in range(0, 400, 20):
            match rng.choice(["sync", "write", "full", "none"]):
                case "sync":
                    disk.fail_sync(rng.randrange(4))
                case "write":
                    disk.fail_write(rng.randrange(8))
                case "full":
                    disk.fill_up(rng.randrange(30_000))
                case _:
                    disk.heal()
            numbers = range(start, start + rng.randrange(1, 20))
            answers: list[Any] = await asyncio.gather(
                *(write(storage, command(number)) for number in numbers), return_exceptions=True
            )
            for number, answer in zip(numbers, answers, strict=True):
                if isinstance(answer, int):
                    there.add(number)
                else:
                    assert isinstance(answer, Conflict | StorageFull | StorageFailed)
            assert await count(storage) == len(there)

    run(tmp_path, test, cache_kb=64)
    assert whole(tmp_path / "cell.db") == there


# ---- the disk itself


def contents(connection: apsw.Connection) -> dict[Any, Any]:
    rows: list[Any] = connection.execute("SELECT id, data FROM t").fetchall()
    return dict(rows)


@pytest.mark.parametrize("seed", range(4))
def test_the_faulty_disk_is_an_ordinary_disk_while_the_power_is_on(
    tmp_path: Path, seed: int
) -> None:
    disk = FaultyDisk(f"faulty-model-{seed}", seed=seed, leak=0.3)
    path = os.fspath(tmp_path / "cell.db")
    rng = random.Random(seed)
    connections = [apsw.Connection(path, vfs=disk.name) for _ in range(3)]
    connections[0].pragma("journal_mode", "wal")
    for connection in connections:
        connection.pragma("synchronous", rng.choice(["FULL", "NORMAL", "OFF"]))
        connection.pragma("cache_size", 20)
    connections[0].execute("CREATE TABLE t (id INTEGER PRIMARY KEY, data BLOB)")
    model: dict[int, bytes] = {}
    for _ in range(200):
        connection = rng.choice(connections)
        number, action = rng.randrange(100), rng.random()
        if action < 0.6:
            model[number] = rng.randbytes(rng.randrange(1, 9000))
            connection.execute("REPLACE INTO t VALUES (?1, ?2)", (number, model[number]))
        elif action < 0.8:
            model.pop(number, None)
            connection.execute("DELETE FROM t WHERE id = ?1", (number,))
        elif action < 0.88:
            connection.wal_checkpoint(mode=rng.randrange(4))
        elif action < 0.9:
            connection.execute("VACUUM")
        else:
            assert contents(connection) == model
    for connection in connections:
        connection.close()
    again = apsw.Connection(path, vfs=disk.name)
    assert contents(again) == model
    assert again.pragma("integrity_check") == "ok"
    again.close()


# ---- kill -9


def kill_under_load(path: Path, disk: str, synchronous: Synchronous, seed: int) -> set[int]:
    """Start a process that writes, kill it after some acknowledgements, and return them."""
    root = Path(hansa.kernel.sqlite.__file__).parents[3]
    child = subprocess.Popen(
        [sys.executable, __file__, os.fspath(path), disk, synchronous, str(seed)],
        env={**os.environ, "PYTHONPATH": os.fspath(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    enough = random.Random(seed).randrange(100, 600)
    acknowledged: list[str] = []
    for line in child.stdout:
        acknowledged.append(line)
        if len(acknowledged) == enough:
            child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it died of something else"
    if not acknowledged[-1].endswith("\n"):
        acknowledged.pop()
    child.stdout.close()
    return {int(line) for line in acknowledged}


@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "cell.db"
    acknowledged = kill_under_load(path, "plain", "FULL", seed)
    acknowledged |= kill_under_load(path, "plain", "FULL", seed + 100)
    assert acknowledged <= whole(path)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_power_cut_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "cell.db"
    acknowledged = kill_under_load(path, "faulty", "FULL", seed)
    acknowledged |= kill_under_load(path, "faulty", "FULL", seed + 100)
    assert acknowledged <= whole(path)


def test_an_fsync_left_out_is_caught_by_the_faulty_disk_only(tmp_path: Path) -> None:
    # Killing alone shows nothing: the operating system has the writes ...
    acknowledged = kill_under_load(tmp_path / "plain.db", "plain", "OFF", 5)
    assert acknowledged <= whole(tmp_path / "plain.db")
    # ... a power cut shows it.
    acknowledged = kill_under_load(tmp_path / "faulty.db", "dropping", "OFF", 5)
    assert acknowledged - whole(tmp_path / "faulty.db")


async def _load(path: str, vfs: str | None, synchronous: Synchronous, seed: int) -> None:
    """Write for ever, and say on the standard output what was acknowledged."""
    storage = SqliteStorage(path, vfs=vfs, synchronous=synchronous)
    await storage.open()
    if not await storage.read(_tables, site="s", deadline=monotonic() + 60):
        await storage.apply(SCHEMA)
    rng = random.Random(seed)

    async def writer(number: int) -> None:
        while True:
            number += 16
            await write(storage, add(number, rng.randrange(3000)))
            os.write(1, f"{number}\n".encode())

    await asyncio.gather(*(writer(seed * 1_000_000 + i) for i in range(16)))


async def _tables(session: Session) -> Any:
    return await session.fetch("SELECT 1 FROM sqlite_master WHERE name = 'things'")


if __name__ == "__main__":
    checkpoints.EVERY_S = 0.005  # type: ignore[misc]  # many, so that the kill meets one
    disks = {
        "faulty": FaultyDisk("faulty", seed=int(sys.argv[4]), leak=0.3),
        "dropping": FaultyDisk("dropping", seed=int(sys.argv[4])),
    }
    chosen = sys.argv[2] if sys.argv[2] in disks else None
    level: Synchronous = "OFF" if sys.argv[3] == "OFF" else "FULL"
    asyncio.run(_load(sys.argv[1], chosen, level, int(sys.argv[4])))
