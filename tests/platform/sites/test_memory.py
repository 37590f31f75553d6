"""What is kept in memory is bounded, shared, and never older than it may be."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from hansa.platform.sites.memory import COMMAND_S, Memory


class Rows:
    """A table to read from, which can be made slow, and a clock."""

    def __init__(self, kept_max: int = 3, misses_max: int = 2) -> None:
        self.rows: dict[str, str] = {}
        self.reads = 0
        self.now = 100.0
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None
        self.memory = Memory(self.load, kept_max, misses_max, 1.0, lambda: self.now)

    async def load(self, name: str) -> str | None:
        self.reads += 1
        value = self.rows.get(name)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return value


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await body()

    asyncio.run(main())


def test_a_value_is_read_once_until_it_is_old() -> None:
    async def body() -> None:
        rows = Rows()
        rows.rows["a"] = "1"
        assert await rows.memory.get("a") == await rows.memory.get("a") == "1"
        assert rows.reads == 1
        rows.rows["a"] = "2"
        rows.now += 1.0
        assert await rows.memory.get("a") == "2"
        rows.rows.clear()
        rows.now += 1.0
        assert await rows.memory.get("a") is None
        assert rows.reads == 3

    run(body)


def test_a_miss_is_known_for_its_time_only() -> None:
    async def body() -> None:
        rows = Rows()
        assert await rows.memory.get("a") is None
        rows.rows["a"] = "1"
        assert await rows.memory.get("a") is None
        assert rows.reads == 1
        rows.now += 1.0
        assert await rows.memory.get("a") == "1"

    run(body)


def test_both_kinds_are_bounded_and_apart() -> None:
    async def body() -> None:
        rows = Rows()
        rows.rows = {name: name for name in "abcd"}
        for name in ("a", "b", "c", "x", "y", "z", "v", "w"):
            await rows.memory.get(name)
        reads = rows.reads
        for name in ("a", "b", "c", "v", "w"):
            await rows.memory.get(name)
        assert rows.reads == reads
        await rows.memory.get("d")  # pushes out "a", the one not used for longest
        await rows.memory.get("b")
        assert rows.reads == reads + 1
        await rows.memory.get("a")
        assert rows.reads == reads + 2

    run(body)


def test_a_changing_value_is_read_each_time_until_the_command_has_ended() -> None:
    async def body() -> None:
        rows = Rows()
        rows.rows["a"] = "old"
        await rows.memory.get("a")
        rows.memory.changing("a")
        assert await rows.memory.get("a") == "old"  # not committed yet
        rows.rows["a"] = "new"
        assert await rows.memory.get("a") == "new"
        rows.now += COMMAND_S
        assert await rows.memory.get("a") == await rows.memory.get("a") == "new"
        assert rows.reads == 4
        rows.memory.changing("a")
        assert await rows.memory.get("a") == await rows.memory.get("a") == "new"
        assert rows.reads == 6

    run(body)


def test_a_value_from_before_a_commit_that_took_too_long_does_not_stay() -> None:
    async def body() -> None:
        rows = Rows()
        rows.rows["a"] = "old"
        rows.memory.changing("a")
        rows.now += COMMAND_S
        assert await rows.memory.get("a") == "old"  # its commit hangs in the disk
        rows.rows["a"] = "new"
        rows.now += 1.0
        assert await rows.memory.get("a") == "new"

    run(body)


def test_it_tells_until_when_a_name_is_known() -> None:
    async def body() -> None:
        rows = Rows()
        rows.rows["a"] = "1"
        await rows.memory.get("a")
        await rows.memory.get("b")
        assert (rows.memory.until("a"), rows.memory.until("b")) == (101.0, 101.0)
        assert rows.memory.until("c") <= rows.now
        rows.memory.changing("a")
        assert rows.memory.until("a") <= rows.now

    run(body)


def test_a_reading_that_began_before_a_change_is_not_kept() -> None:
    async def body() -> None:
        rows = Rows()
        rows.rows["a"] = "old"
        rows.gate = asyncio.Event()
        early = asyncio.create_task(rows.memory.get("a"))
        await asyncio.sleep(0)
        rows.memory.changing("a")
        rows.rows["a"] = "new"
        rows.now += COMMAND_S
        rows.gate.set()
        assert await early == "old"
        assert await rows.memory.get("a") == "new"

    run(body)


def test_many_who_ask_at_once_share_one_reading() -> None:
    async def body() -> None:
        rows = Rows()
        rows.rows["a"] = "1"
        rows.gate = asyncio.Event()
        asking = [asyncio.create_task(rows.memory.get("a")) for _ in range(9)]
        await asyncio.sleep(0)
        rows.gate.set()
        assert await asyncio.gather(*asking) == ["1"] * 9
        assert rows.reads == 1

    run(body)


def test_a_failed_reading_fails_for_all_and_is_not_kept() -> None:
    async def body() -> None:
        rows = Rows()
        rows.rows["a"] = "1"
        rows.gate = asyncio.Event()
        rows.error = OSError("no disk")
        asking = [asyncio.create_task(rows.memory.get("a")) for _ in range(3)]
        await asyncio.sleep(0)
        rows.gate.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(error) for error in found] == [OSError] * 3
        rows.error = None
        assert await rows.memory.get("a") == "1"

    run(body)


def test_a_cancelled_reader_takes_nobody_along() -> None:
    async def body() -> None:
        rows = Rows()
        rows.rows["a"] = "1"
        rows.gate = asyncio.Event()
        asking = [asyncio.create_task(rows.memory.get("a")) for _ in range(3)]
        await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.sleep(0)
        rows.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await asking[0]
        assert await asyncio.gather(*asking[1:]) == ["1", "1"]
        assert rows.reads == 2

    run(body)
