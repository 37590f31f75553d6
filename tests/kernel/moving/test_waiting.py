"""A copy that takes long is waited for, and who waited too long is told so."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hansa.assembly import Place
from hansa.kernel.moving.arriving import Arriving
from hansa.kernel.moving.leaving import Leaving
from hansa.kernel.moving.protocol import STEPS_MAX
from hansa.kernel.problems import Overloaded
from hansa.platform.sites import mover
from tests.kernel.moving.town import League, league

ASKED = STEPS_MAX + 5
"""How often the copy is asked for before it goes on."""


def run(folder: Path, test: Callable[[League], Awaitable[None]]) -> None:
    async def go() -> None:
        places = (Place(folder / name, synchronous="OFF") for name in ("north", "south"))
        async with league(folder, *places) as made:
            await test(made)

    asyncio.run(go())


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing be read until the copy was asked for so often; nobody waits for it there."""
    take: Callable[..., Any] = Arriving.take
    read: Callable[..., Any] = Leaving.read
    asked = 0
    go_on = asyncio.Event()

    async def counted(self: Arriving, message: Any, wait_s: float) -> Any:
        nonlocal asked
        asked += 1
        if asked == ASKED:
            go_on.set()
        return await take(self, message, 0 if asked < ASKED else wait_s)

    async def held(self: Leaving, want: Any) -> Any:
        await go_on.wait()
        return await read(self, want)

    monkeypatch.setattr(Arriving, "take", counted)
    monkeypatch.setattr(Leaving, "read", held)


def test_a_copy_is_asked_for_as_often_as_it_takes(tmp_path: Path) -> None:
    async def test(made: League) -> None:
        await made.post(made.north, "a", "k" * 22)
        moved = await made.move("south")
        assert (moved.cell, made.steps.count("copy")) == ("south", ASKED)
        await made.check(made.south, {"a": 1})

    run(tmp_path, test)


def test_who_waits_too_long_is_told_where_it_stands_and_may_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(made: League) -> None:
        await made.post(made.north, "a", "k" * 22)
        with monkeypatch.context() as hurry, pytest.raises(Overloaded, match="copy goes on"):
            hurry.setattr(mover, "LASTS_S", 0.0)
            await made.move("south")
        assert made.steps == ["plan", "fence", "copy"]
        await made.move("south")
        await made.check(made.south, {"a": 1})

    run(tmp_path, test)
