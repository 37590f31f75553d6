"""Turns are fair by site: whatever one site asks for, the others wait for one round at most."""

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.turns import DEBT_MAX, QUANTUM_S, Turns

sites = st.sampled_from(["ale", "bee", "cod", "dill"])


def drain(turns: Turns[tuple[str, int]], cost_s: float, count: int) -> list[str]:
    """Return whose turn it was, `count` times."""
    found: list[str] = []
    for _ in range(count):
        item = turns.take()
        assert item is not None
        turns.charge(item[0], cost_s)
        found.append(item[0])
    return found


@given(st.lists(st.tuples(sites, st.floats(0, 0.05)) | st.none(), max_size=80))
def test_each_site_is_first_come_first_served_and_nothing_is_lost(
    steps: list[tuple[str, float] | None],
) -> None:
    turns: Turns[tuple[str, int]] = Turns()
    model: dict[str, deque[int]] = {}
    costs: dict[tuple[str, int], float] = {}
    for number, step in enumerate(steps):
        if step is not None:
            site, cost_s = step
            costs[site, number] = cost_s
            turns.put(site, (site, number))
            model.setdefault(site, deque()).append(number)
        else:
            item = turns.take()
            assert (item is None) == (not any(model.values()))
            if item is not None:
                assert model[item[0]].popleft() == item[1]
                turns.charge(item[0], costs[item])
        assert len(turns) == sum(len(line) for line in model.values())


@given(st.integers(2, 40), st.sampled_from([QUANTUM_S, QUANTUM_S / 2, QUANTUM_S * 2]))
def test_a_flood_takes_no_more_than_its_share(others: int, cost_s: float) -> None:
    turns: Turns[tuple[str, int]] = Turns()
    for number in range(10_000):
        turns.put("flood", ("flood", number))
    for other in range(others):
        for number in range(20):
            turns.put(f"site {other}", (f"site {other}", number))
    served = Counter(drain(turns, cost_s, (others + 1) * 10))
    assert max(served.values()) - min(served.values()) <= 2


def test_who_comes_late_waits_for_one_round() -> None:
    turns: Turns[tuple[str, int]] = Turns()
    for number in range(5_000):
        turns.put("flood", ("flood", number))
    assert drain(turns, QUANTUM_S, 50) == ["flood"] * 50
    turns.put("late", ("late", 0))
    assert "late" in drain(turns, QUANTUM_S, 2)


def test_turns_that_cost_nothing_that_can_be_measured_are_shared_all_the_same() -> None:
    turns: Turns[tuple[str, int]] = Turns()
    for number in range(1_000):
        turns.put("flood", ("flood", number))
    turns.put("late", ("late", 0))
    assert "late" in drain(turns, 0.0, 32)


def test_slow_turns_are_charged_by_their_time() -> None:
    turns: Turns[tuple[str, int]] = Turns()
    for number in range(2_000):
        turns.put("slow", ("slow", number))
        turns.put("quick", ("quick", number))
    spent = Counter[str]()
    for _ in range(1_000):
        item = turns.take()
        assert item is not None
        cost_s = 0.01 if item[0] == "slow" else 0.0001
        turns.charge(item[0], cost_s)
        spent[item[0]] += round(cost_s * 10_000)
    assert abs(spent["slow"] - spent["quick"]) <= 110


def test_a_debt_has_a_bound_and_ends_with_the_line() -> None:
    turns: Turns[tuple[str, int]] = Turns()
    for number in range(3):
        turns.put("slow", ("slow", number))
        for _ in range(500):
            turns.put("quick", ("quick", number))
    assert turns.take() == ("slow", 0)
    turns.charge("slow", 3_600.0)
    waited = drain(turns, QUANTUM_S, 200).index("slow")
    assert waited <= DEBT_MAX / QUANTUM_S + 2
    turns.charge("nobody", 1.0)


def test_a_full_queue_makes_room_at_the_cost_of_the_longest_line() -> None:
    turns: Turns[tuple[str, int]] = Turns()
    for number in range(10):
        turns.put("flood", ("flood", number))
    turns.put("bee", ("bee", 0))
    assert turns.crowded_out("flood") is None
    assert turns.crowded_out("bee") == ("flood", 9)
    assert turns.crowded_out("new") == ("flood", 8)
    assert len(turns) == 9
    assert Turns[int]().crowded_out("new") is None
