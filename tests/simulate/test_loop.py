"""The virtual loop: time jumps, order holds, and the dead do nothing more."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from hansa.simulate.loop import START_S, AtRest, Process, Spinning, VirtualLoop, current_process


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.end()


def test_waiting_passes_time_and_nothing_else(loop: VirtualLoop) -> None:
    loop.run_until_complete(asyncio.sleep(86_400))
    assert loop.time() == START_S + 86_400


def test_what_is_due_at_one_instant_runs_in_the_order_of_its_scheduling(loop: VirtualLoop) -> None:
    seen: list[int] = []
    for number in range(50):
        loop.call_later(1.0, seen.append, number)
    loop.run_until_complete(asyncio.sleep(1.0))
    assert seen == list(range(50))


def test_the_dead_do_nothing_more(loop: VirtualLoop) -> None:
    seen: list[str] = []

    async def live(name: str) -> None:
        try:
            while True:
                seen.append(current_process().name)
                await asyncio.sleep(1)
        finally:
            seen.append(f"{name} cleaned up")

    one, other = Process("one"), Process("other")
    loop.spawn(one, live("one"))
    loop.spawn(other, live("other"))
    loop.run_until_complete(asyncio.sleep(1.5))
    one.die()
    loop.run_until_complete(asyncio.sleep(1.0))
    assert seen == ["one", "other", "one", "other", "other"]


def _never() -> Awaitable[None]:
    return asyncio.Event().wait()  # type: ignore[return-value]


async def _spin() -> None:
    loop = asyncio.get_running_loop()

    def again() -> None:
        loop.call_soon(again)

    again()
    await asyncio.Event().wait()


@pytest.mark.parametrize(("what", "error"), [(_never, AtRest), (_spin, Spinning)])
def test_what_cannot_end_is_told(
    loop: VirtualLoop, what: Callable[[], Awaitable[None]], error: type[Exception]
) -> None:
    with pytest.raises(error):
        loop.run_until_complete(what())


def test_errands_of_threads_are_done_in_this_one(loop: VirtualLoop) -> None:
    assert loop.run_until_complete(asyncio.to_thread(lambda: 5)) == 5
