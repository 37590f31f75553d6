"""Load: what a process lets in and leaves, by what its queues have measured."""

import asyncio
from time import monotonic

import pytest
import uvloop

from hansa.kernel.load import PROBE_S, Background, Load
from hansa.kernel.problems import Overloaded
from hansa.kernel.shedding import LEVEL_MAX, STEP_S, Pressure, Priority


def stand(pressure: Pressure) -> None:
    """Have a queue stand for three seconds, which end now."""
    now = monotonic()
    for step in range(-30, 1):
        pressure.waited(5.0, now + step * STEP_S)
    assert pressure.level == LEVEL_MAX


class Noting(Pressure):
    """A pressure that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[float] = []

    def waited(self, delay_s: float, now: float) -> None:
        self.noted.append(delay_s)


def test_a_read_looks_at_the_readers_and_a_command_at_the_writer() -> None:
    async def test() -> None:
        load = Load()
        stand(load.writing)
        load.admit(Priority.READ, "site")
        load.admit(Priority.VITAL, "site")
        with pytest.raises(Overloaded) as refused:
            load.admit(Priority.COMMAND, "site")
        assert refused.value.slug == "load-shed"
        assert refused.value.retry_after_s
        assert load.refused == 1

    uvloop.run(test())


def test_a_loop_that_is_held_up_is_measured() -> None:
    async def test() -> None:
        load = Load()
        load.processor = processor = Noting()
        noted = processor.noted
        load.admit(Priority.READ, "site")
        load.admit(Priority.READ, "site")
        end = monotonic() + 3 * PROBE_S
        while monotonic() < end:  # the loop is busy
            pass
        await asyncio.sleep(PROBE_S * 2)
        assert len(noted) == 1, "without requests nothing is asked"
        assert noted[0] >= PROBE_S

    uvloop.run(test())


def test_background_work_goes_on_one_by_one_under_the_highest_load() -> None:
    async def test() -> None:
        load = Load()
        assert load.background(64) == 64
        stand(load.processor)
        assert load.background(64) == 1

    uvloop.run(test())


def test_sites_take_turns_in_the_background() -> None:
    async def test() -> None:
        background = Background(Load(), most=2)
        order: list[str] = []
        hold = asyncio.Event()

        async def work(site: str) -> None:
            began = await background.begin(site)
            order.append(site)
            await hold.wait()
            background.end(site, began - 0.001)  # it has cost a millisecond

        tasks = [asyncio.create_task(work("flood")) for _ in range(20)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(work("quiet")))
        await asyncio.sleep(0)
        assert order == ["flood", "flood"]
        tasks[5].cancel()
        hold.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order.index("quiet") <= 4
        assert len(order) == 20
        began = await background.begin("late")
        background.end("late", began)

    uvloop.run(test())


def test_a_turn_that_comes_with_the_cancelling_goes_to_the_next() -> None:
    async def test() -> None:
        background = Background(Load(), most=1)
        began = await background.begin("one")
        second = asyncio.create_task(background.begin("two"))
        third = asyncio.create_task(background.begin("three"))
        await asyncio.sleep(0)
        background.end("one", began)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await asyncio.wait_for(third, 5)

    uvloop.run(test())
