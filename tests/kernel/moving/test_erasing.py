"""An erasure that something newer has overtaken leaves the rows alone, which are a newer copy's."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hansa.kernel.keeping.belongings import belongings
from hansa.kernel.moving.arriving import LEASE_S, Arriving
from hansa.kernel.moving.leaving import Leaving
from hansa.kernel.moving.messages import Ask
from hansa.kernel.moving.protocol import OutOfTurn
from hansa.kernel.storage import Storage
from tests.kernel.cells import REAL, HandClock, TestCell, opened
from tests.kernel.moving import ledger as L

KEEP = "INSERT INTO hansa_sites (site, state, epoch, at_us) VALUES (?1, ?2, ?3, 1)"
NAMES = [f"n{number}" for number in range(20)]


async def write_rows(cell: TestCell) -> None:
    for name in NAMES:
        await cell.run("INSERT INTO book_sums (site, name, count) VALUES (?1, ?2, 1)",
                       REAL.id, name)  # fmt: skip


async def prepare(cell: TestCell, arriving: Arriving, leaving: Leaving) -> None:
    await cell.run(KEEP, REAL.id, "gone", 4)
    await arriving.prepare(Ask(REAL.id, 5))


async def clear(cell: TestCell, arriving: Arriving, leaving: Leaving) -> None:
    await cell.run(KEEP, REAL.id, "coming", 5)
    await arriving.clear(Ask(REAL.id, 5))


async def erase(cell: TestCell, arriving: Arriving, leaving: Leaving) -> None:
    await cell.run(KEEP, REAL.id, "gone", 5)
    await leaving.erase(Ask(REAL.id, 5))


@pytest.mark.parametrize(("verb", "newer"), [(prepare, 5), (clear, 6), (erase, 6)])
def test_an_erasure_that_is_overtaken_leaves_a_newer_copy_alone(
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    verb: Callable[[TestCell, Arriving, Leaving], Awaitable[None]],
    newer: int,
) -> None:
    async def go() -> None:
        clock = HandClock()
        async with opened(storage, L.book, clock=clock, background=False) as cell:
            rows = belongings(cell.services, platform=False)
            arriving, leaving = Arriving(cell.runtime, rows), Leaving(cell.runtime, rows)
            await write_rows(cell)
            read: Callable[..., Any] = storage.read
            begun, go_on = asyncio.Event(), asyncio.Event()

            async def held(*arguments: Any, **named: Any) -> Any:
                found = await read(*arguments, **named)
                if asyncio.current_task() is first:
                    begun.set()
                    await go_on.wait()
                return found

            monkeypatch.setattr(storage, "read", held)
            first = asyncio.create_task(_of(verb(cell, arriving, leaving)))
            await begun.wait()
            clock.add(LEASE_S)  # as other processes of the cell see it, it goes on no more
            await arriving.prepare(Ask(REAL.id, newer))
            assert await cell.rows("SELECT count(*) FROM book_sums") == [(0,)]
            await write_rows(cell)  # the newer copy
            go_on.set()
            with pytest.raises(OutOfTurn):
                await first
            assert await cell.rows("SELECT count(*) FROM book_sums") == [(len(NAMES),)]

    asyncio.run(go())


async def _of(work: Awaitable[None]) -> None:
    await work
