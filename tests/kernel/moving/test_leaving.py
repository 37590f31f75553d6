"""What a cell does that a site leaves: nothing is written behind the fence, no row sent twice."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hansa.kernel.caller import PUBLIC_PRINCIPAL, Caller
from hansa.kernel.fence import SiteMoving
from hansa.kernel.keeping.belongings import belongings
from hansa.kernel.moving import leaving as leaving_side
from hansa.kernel.moving.leaving import Leaving
from hansa.kernel.moving.messages import Ask, Want
from hansa.kernel.pruning import LOG_KEPT_S
from hansa.kernel.storage import Storage
from tests.kernel.cells import ANYBODY, OTHER, REAL, TESTED, HandClock, TestCell, opened
from tests.kernel.moving import ledger as L

MANY = 400
"""More commands than share a commit on SQLite."""
PIECES_MAX = 20


def leaving(cell: TestCell) -> Leaving:
    return Leaving(cell.runtime, belongings(cell.services, platform=False))


async def rows_of(side: Leaving, ask: Ask) -> dict[str, int]:
    """Return how many rows of which table a copy gets."""
    begin = await side.begin(ask)
    found: dict[str, int] = {}
    want: Want | None = Want(ask.site, ask.epoch, begin.filled)
    pieces = 0
    while want is not None:
        pieces += 1
        assert pieces < PIECES_MAX
        piece = await side.read(want)
        for part in piece.parts:
            found[part.table] = found.get(part.table, 0) + len(part.rows)
        want = Want(ask.site, ask.epoch, piece.tables, piece.after) if piece.tables else None
    return found


def test_what_waits_when_the_fence_comes_is_copied_or_refused(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, L.book, background=False) as cell:
            side, ask = leaving(cell), Ask(REAL.id, 2)

            async def post(number: int) -> Any:
                return await cell.runtime.invoke_here(
                    L.post, ANYBODY, {"name": f"n{number}"}, key=f"key-{number:018d}"
                )

            posts = [asyncio.create_task(post(number)) for number in range(MANY)]
            await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
            more = [asyncio.create_task(post(number)) for number in range(MANY, 2 * MANY)]
            await asyncio.sleep(0)
            await side.fence(ask)
            copied = (await rows_of(side, ask)).get("book_sums", 0)
            ends = await asyncio.gather(*posts, *more, return_exceptions=True)
            refused = [n for n, end in enumerate(ends) if isinstance(end, BaseException)]
            assert {type(ends[n]) for n in refused} <= {SiteMoving}
            assert copied == 2 * MANY - len(refused)
            assert await cell.rows("SELECT count(*) FROM book_sums") == [(copied,)]
            await side.keep(ask)
            for number in refused[:3]:  # they were not done, so their keys are free
                await post(number)
            assert await cell.rows("SELECT count(*) FROM book_sums") == [
                (copied + len(refused[:3]),)
            ]

    asyncio.run(go())


def test_what_was_read_before_a_fence_does_not_open_it(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        async with opened(storage, L.book, background=False) as cell:
            read: Callable[..., Any] = storage.read
            late, has_read = asyncio.Event(), asyncio.Event()

            async def slowly(*arguments: Any, **named: Any) -> Any:
                found = await read(*arguments, **named)
                has_read.set()
                await late.wait()
                return found

            monkeypatch.setattr(storage, "read", slowly)
            before = asyncio.create_task(cell.runtime.load_fence())
            await has_read.wait()
            monkeypatch.setattr(storage, "read", read)
            await leaving(cell).fence(Ask(REAL.id, 2))
            late.set()
            await before
            with pytest.raises(SiteMoving):
                storage.fence.check_write(REAL.id, across=False)

    asyncio.run(go())


def test_nothing_is_pruned_of_a_site_that_leaves(storage: Storage) -> None:
    """What is noted as an event goes might be noted where it was copied from already."""

    async def go() -> None:
        clock = HandClock()
        async with opened(storage, L.book, background=False, clock=clock) as cell:
            for site in (REAL.id, OTHER.id):
                caller = Caller(site, PUBLIC_PRINCIPAL)
                await cell.runtime.do(L.post, caller, {"name": "a"})
            await storage.sequence()
            side, ask = leaving(cell), Ask(REAL.id, 2)
            await side.fence(ask)
            clock.add(LOG_KEPT_S + 1)
            assert (await cell.runtime.pruner.prune())["hansa_events"] == 1
            assert await cell.rows("SELECT site FROM hansa_events") == [(REAL.id,)]
            await side.keep(ask)
            assert (await cell.runtime.pruner.prune())["hansa_events"] == 1

    asyncio.run(go())


@pytest.mark.parametrize("size", range(1, 7))
def test_each_row_is_in_one_piece_whatever_the_piece_ends_with(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Also the one row of a table that has no key but the site, as a clock."""

    async def go() -> None:
        async with opened(storage, L.book, background=False) as cell:
            for name in ("a", "b", "c"):
                await cell.run(
                    "INSERT INTO book_sums (site, name, count) VALUES (?1, ?2, 1)", TESTED.id, name
                )
            monkeypatch.setattr(leaving_side, "PIECE_ROWS", size)
            side, ask = leaving(cell), Ask(TESTED.id, 2)
            await side.fence(ask)
            assert await rows_of(side, ask) == {"book_sums": 3, "hansa_clocks": 1}

    asyncio.run(go())
