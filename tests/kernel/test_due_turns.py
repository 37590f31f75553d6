"""What is due is done by turns of the sites, however much of it there is."""

from bisect import bisect_right
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.due_turns import FIRST, LINE_MAX, LOOK_MAX, LOOK_S, DueTurns, Place

places = st.tuples(
    st.integers(1, 9), st.sampled_from(["ale", "bee", "cod"]), st.integers(0, 99).map(str)
)


class Backlog:
    """What is due, as the database has it, and claims of so many rows."""

    def __init__(self, rows: list[Place]) -> None:
        self.rows = sorted(rows)
        self.turns = DueTurns()
        self.now = 0.0
        self.order: list[Place] = []

    def look(self, after: Place) -> list[Place]:
        at = bisect_right(self.rows, after)
        return self.rows[at : at + LOOK_MAX]

    def claim(self, count: int) -> list[Place]:
        if len(self.turns) < count:
            self.turns.saw(self.look(FIRST))
        beyond = self.turns.beyond(self.now)
        if beyond is not None:
            self.turns.saw_beyond(self.look(beyond), self.now)
        names = set(self.turns.take(count))
        taken = [row for row in self.rows if row[1:] in names]
        assert len(taken) == len(names), "each is taken once"
        self.rows = [row for row in self.rows if row[1:] not in names]
        self.order += taken
        self.now += LOOK_S / 2
        return taken


@given(st.lists(places, max_size=60, unique_by=lambda row: row[1:]), st.integers(1, 20))
def test_each_row_is_taken_once_and_none_is_left(rows: list[Place], count: int) -> None:
    backlog = Backlog(rows)
    while taken := backlog.claim(count):
        assert len(taken) <= count
    assert sorted(backlog.order) == sorted(rows)
    assert not backlog.rows and not len(backlog.turns)


def flood(count: int) -> list[Place]:
    return [(1 + at // 100, "flood", f"{at:06}") for at in range(count)]


def test_in_a_claim_each_site_has_its_share() -> None:
    quiet = [(500, site, str(at)) for site in ("ale", "bee", "cod") for at in range(40)]
    backlog = Backlog(flood(1_000) + quiet)
    assert Counter(row[1] for row in backlog.claim(64)) == {
        "flood": 16, "ale": 16, "bee": 16, "cod": 16,
    }  # fmt: skip


def test_who_stands_behind_any_number_of_rows_is_found() -> None:
    rows = 20 * LOOK_MAX
    backlog = Backlog([*flood(rows), (10**6, "quiet", "1")])
    claims = 0
    while not any(row[1] == "quiet" for row in backlog.order):
        backlog.claim(64)
        claims += 1
    assert claims <= 2 * 21 + 4


def test_a_flood_is_done_in_its_own_order() -> None:
    backlog = Backlog(flood(3 * LOOK_MAX))
    while backlog.claim(64):
        pass
    assert backlog.order == flood(3 * LOOK_MAX)


def test_memory_has_a_bound() -> None:
    turns = DueTurns()
    turns.saw(flood(LOOK_MAX))
    assert len(turns) == LINE_MAX
    turns.saw(flood(LOOK_MAX))
    assert len(turns) == LINE_MAX
