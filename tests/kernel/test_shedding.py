"""Shedding holds a queue at its target by giving up what matters least, for any flood."""

import random
from collections import Counter, deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.shedding import (
    LEVEL_MAX,
    STANDING_S,
    STEP_S,
    TARGET_S,
    Pressure,
    Priority,
    Shedding,
    refused_part,
)

levels = st.floats(0, LEVEL_MAX)
priorities = st.sampled_from(Priority)
SHED = (Priority.COMMAND, Priority.READ, Priority.BACKGROUND)


@dataclass
class Server:
    """One server with one queue of bounded length, in virtual time."""

    per_s: float
    pressure: Pressure = field(default_factory=Pressure)
    shedding: Shedding = field(default_factory=Shedding)
    queue: deque[float] = field(default_factory=deque[float])
    free_at: float = 0.0
    came: Counter[Priority] = field(default_factory=Counter[Priority])
    refused: Counter[Priority] = field(default_factory=Counter[Priority])
    waits: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def offer(self, now: float, priority: Priority) -> None:
        """Let time go on to `now`, when a request comes."""
        while self.queue and max(self.free_at, self.queue[0]) <= now:
            came_at = self.queue.popleft()
            start = max(self.free_at, came_at)
            self.free_at = start + 1 / self.per_s
            self.pressure.waited(start - came_at, start)
            self.waits.append((start, start - came_at))
        self.came[priority] += 1
        self.pressure.settle(now)
        level = self.pressure.level
        if level and self.shedding.refuses(priority, "site", level, now):
            self.refused[priority] += 1
        elif len(self.queue) < 2_000:
            self.queue.append(now)

    def offer_for(self, begin: float, seconds: float, per_s: float, chance: random.Random) -> None:
        for number in range(int(seconds * per_s)):
            priority = chance.choices(SHED, (0.2, 0.6, 0.2))[0]
            self.offer(begin + number / per_s, priority)

    def part_refused(self, priority: Priority) -> float:
        return self.refused[priority] / self.came[priority]


@pytest.mark.parametrize("times", [1.2, 2.0, 4.0, 8.0])
def test_a_flood_is_cut_to_what_can_be_done_and_the_queue_stays_short(times: float) -> None:
    server = Server(per_s=1_000)
    server.offer_for(0.0, 40.0, 1_000 * times, random.Random(1))
    late = [wait for at, wait in server.waits if at > 20.0]
    assert max(late) < 4 * TARGET_S
    assert len(late) > 0.95 * 1_000 * 20, "it has not been idle"
    parts = [server.part_refused(one) for one in SHED]
    assert parts == sorted(parts), "the least important first"
    if times <= 2.0:  # all commands can be done
        assert parts[0] < 0.1


def test_after_a_flood_all_are_let_in_again() -> None:
    server = Server(per_s=1_000)
    chance = random.Random(2)
    server.offer_for(0.0, 10.0, 6_000, chance)
    assert server.pressure.level > 1
    server.offer_for(10.0, 15.0, 300, chance)
    server.refused.clear()
    server.offer_for(25.0, 5.0, 900, chance)
    assert not server.refused and server.pressure.level == 0.0


def test_a_burst_that_empties_within_a_second_is_let_through() -> None:
    server = Server(per_s=1_500)
    for second in range(0, 30, 2):
        for _ in range(1_000):  # buyers of one moment
            server.offer(float(second), Priority.COMMAND)
        server.offer(second + 1.0, Priority.READ)
    assert not server.refused and server.pressure.level == 0.0


def test_one_short_wait_in_each_second_is_enough() -> None:
    pressure = Pressure()
    for step in range(200):
        now = step * STEP_S
        pressure.waited(0.0 if step % 9 == 0 else 5.0, now)
    assert pressure.level == 0.0


def test_what_was_long_ago_says_nothing_of_now() -> None:
    pressure = Pressure()
    for step in range(40):
        pressure.waited(2.0, step * STEP_S)
    assert pressure.level > 0
    pressure.settle(40 * STEP_S + STANDING_S + STEP_S)
    assert pressure.level == 0.0


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 20)), max_size=100))
def test_a_level_has_bounds(steps: list[tuple[float, float]]) -> None:
    pressure, now = Pressure(), 100.0
    for after_s, delay_s in steps:
        now += after_s
        pressure.waited(delay_s, now)
        assert 0.0 <= pressure.level <= LEVEL_MAX


@given(levels, st.booleans())
def test_vital_work_is_never_refused(level: float, over_share: bool) -> None:
    assert refused_part(Priority.VITAL, level, over_share) == 0.0


@given(priorities, levels, levels, st.booleans())
def test_who_matters_more_is_refused_less(
    priority: Priority, level: float, higher: float, over_share: bool
) -> None:
    part = refused_part(priority, level, over_share)
    assert 0.0 <= part <= 1.0
    assert all(refused_part(one, level, over_share) >= part for one in Priority if one > priority)
    assert refused_part(priority, level, True) >= part
    if higher >= level:
        assert refused_part(priority, higher, over_share) >= part


@given(st.sampled_from(SHED), levels)
def test_just_the_part_is_refused(priority: Priority, level: float) -> None:
    shedding = Shedding()
    refused = sum(shedding.refuses(priority, "site", level, 0.0) for _ in range(1_000))
    assert abs(refused - 1_000 * refused_part(priority, level, False)) <= 1
    assert shedding.refused == refused


def test_the_site_that_asks_for_most_is_refused_first() -> None:
    shedding = Shedding()
    refused: Counter[str] = Counter()
    for number in range(11_000):
        site = "quiet" if number % 11 == 0 else "flood"
        refused[site] += shedding.refuses(Priority.READ, site, 1.0, number / 11_000)
    assert refused["quiet"] <= 1
    assert refused["flood"] > 9_900


@given(levels, st.integers(0, 10_000))
def test_clients_are_told_different_seconds(level: float, refused: int) -> None:
    shedding = Shedding()
    shedding.refused = refused
    assert 1 <= shedding.retry_after_s(level) <= 7
