"""However the messages of movers are lost, doubled, held up and mixed, a site is in one cell."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.kernel.moving import protocol as P
from hansa.kernel.moving.protocol import STEPS_MAX, Home, OutOfTurn, Row

CELLS = ("north", "south", "west")


@dataclass
class World:
    """The home, the cells with the site's rows in them, and the messages that are under way."""

    home: Home = field(default_factory=lambda: Home("north", 1))
    rows: dict[str, Row | None] = field(default_factory=lambda: dict.fromkeys(CELLS))
    data: dict[str, int] = field(default_factory=lambda: {"north": 0})
    """How many writes the site's rows in a cell have seen; a cell without rows has no entry."""
    written: int = 0
    copies: list[tuple[str, Row, int]] = field(default_factory=list[tuple[str, Row, int]])
    token: int = 0

    def writes_here(self, cell: str) -> bool:
        row = self.rows[cell]
        return row.state == "here" if row is not None else cell == "north"

    def write(self) -> None:
        """A client writes wherever it is let."""
        open_cells = [cell for cell in CELLS if self.writes_here(cell)]
        assert len(open_cells) <= 1, "two cells write"
        for cell in open_cells:
            assert self.data[cell] == self.written, "a write was lost"
            self.data[cell] += 1
            self.written += 1

    def do(self, message: tuple[str, str, int, str]) -> None:
        """Have a cell, or the home, obey a message or refuse it."""
        verb, cell, epoch, other = message
        row = self.rows.get(cell)
        if verb == "plan":
            self.home = P.plan(self.home, other)
        elif verb in ("flip", "finish", "unplan"):
            self.home = P.flip(self.home, epoch) if verb == "flip" else P.end(self.home, epoch)
        elif verb == "fence":
            if row is None and cell != "north":
                raise OutOfTurn
            self.rows[cell] = P.fence(row, epoch)
        elif verb == "copy":
            self._copy(cell, other, epoch)
        elif verb == "clear":
            self.rows[cell] = P.clear(row, epoch)
            self.data.pop(cell, None)
        elif verb == "keep":
            self.rows[cell] = P.keep(row, epoch)
        elif verb == "leave":
            self.rows[cell] = P.leave(row, epoch)
        else:
            if not P.may_erase(row, epoch):
                raise OutOfTurn
            self.data.pop(cell, None)

    def _copy(self, cell: str, source: str, epoch: int) -> None:
        """Begin a copy; it arrives later, or never."""
        if self.rows[source] != Row("moving", epoch):
            raise OutOfTurn
        self.token += 1
        claimed = P.claim(self.rows[cell], epoch, self.token)
        self.rows[cell] = claimed
        if claimed.state == "coming":
            self.data.pop(cell, None)
            self.copies.append((cell, claimed, self.data[source]))

    def arrive(self, number: int) -> None:
        """Have a copy be whole, if it still may."""
        if not self.copies:
            return
        cell, claimed, count = self.copies.pop(number % len(self.copies))
        try:
            self.rows[cell] = P.arrive(self.rows[cell], claimed)
        except OutOfTurn:
            return
        self.data[cell] = count


def message_of(world: World, to: str, *, erased: bool) -> tuple[str, str, int, str] | None:
    """Return what a mover would say now."""
    home = world.home
    epoch = home.epoch if home.move == "from" else home.epoch + 1
    source, target = (home.other, home.cell) if home.move == "from" else (home.cell, home.other)
    step = P.next_step(home, world.rows.get(source), world.rows.get(target), to, rows=not erased)
    if step == "done":
        return None
    cell = {"fence": source, "keep": source, "leave": source, "erase": source}.get(step, target)
    return (step, cell, epoch, to if step == "plan" else source)


def settle(world: World, to: str) -> None:
    """Have one mover bring the site where it should be, undisturbed."""
    erased = False
    for _ in range(STEPS_MAX):
        message = message_of(world, to, erased=erased)
        if message is None:
            return
        world.do(message)
        erased = message[0] == "erase" or (erased and message[0] not in ("plan", "flip"))
        if message[0] == "copy":
            while world.copies:
                world.arrive(len(world.copies) - 1)
        world.write()
    raise AssertionError("it does not come to an end")


act = st.one_of(
    st.tuples(st.just("look"), st.sampled_from(CELLS), st.booleans()),
    st.tuples(st.just("deliver"), st.integers(0, 20), st.booleans()),
    st.tuples(st.just("arrive"), st.integers(0, 20), st.booleans()),
    st.tuples(st.just("write"), st.just(0), st.booleans()),
)


@settings(max_examples=400)
@given(acts=st.lists(act, max_size=80), to=st.sampled_from(CELLS))
def test_a_site_is_in_one_cell_whatever_becomes_of_the_messages(
    acts: list[tuple[str, str | int, bool]], to: str
) -> None:
    world = World()
    under_way: list[tuple[str, str, int, str]] = []
    for what, which, again in acts:
        if what == "look":
            message = message_of(world, str(which), erased=again)
            under_way += [message] if message else []
        elif what == "deliver" and under_way:
            number = int(which) % len(under_way)
            message = under_way[number] if again else under_way.pop(number)
            try:
                world.do(message)
            except OutOfTurn:
                pass
        elif what == "arrive":
            world.arrive(int(which))
        world.write()
    settle(world, to)
    assert world.home.move == "none"
    assert world.home.cell == to
    assert world.data[to] == world.written
    assert world.writes_here(to)
    before = world.written
    world.write()
    assert world.written == before + 1
    for message in under_way:  # what comes late changes nothing
        try:
            world.do(message)
        except OutOfTurn:
            continue
    settle(world, to)
    assert world.data[to] == world.written


def test_it_goes_step_by_step() -> None:
    world = World()
    steps = []
    erased = False
    while message := message_of(world, "south", erased=erased):
        steps.append(message[0])
        world.do(message)
        erased = message[0] == "erase"
        world.arrive(0)
    assert steps == ["plan", "fence", "copy", "flip", "leave", "erase", "finish"]
    assert world.home == Home("south", 2)
    assert world.rows["north"] == Row("gone", 2)
    assert world.rows["south"] == Row("here", 2)


def test_a_move_that_is_taken_back_uses_its_epoch_up() -> None:
    world = World()
    for verb, cell in (("plan", "north"), ("fence", "north"), ("copy", "south")):
        world.do((verb, cell, 2, "south" if verb == "plan" else "north"))
    settle(world, "north")
    assert world.home == Home("north", 2)
    with pytest.raises(OutOfTurn):
        world.do(("copy", "south", 2, "north"))
    with pytest.raises(OutOfTurn):
        world.do(("fence", "north", 2, ""))
    settle(world, "south")
    assert world.home == Home("south", 3)


def test_what_a_cell_does_not_take() -> None:
    for late in (
        lambda: P.leave(Row("here", 4), 3),
        lambda: P.leave(None, 2),
        lambda: P.keep(Row("gone", 3), 3),
        lambda: P.clear(Row("here", 3), 3),
        lambda: P.claim(Row("here", 4), 3, 1),
        lambda: P.claim(Row("gone", 3), 3, 1),
        lambda: P.claim(Row("erased", 0), 3, 1),
        lambda: P.fence(Row("gone", 3), 4),
        lambda: P.flip(Home("north", 3), 3),
        lambda: P.end(Home("north", 3, "to", "south"), 3),
        lambda: P.plan(Home("north", 3, "from", "south"), "west"),
    ):
        with pytest.raises(OutOfTurn):
            late()
    assert not P.may_erase(Row("gone", 3), 2)
    assert not P.may_erase(Row("here", 3), 3)


@pytest.mark.parametrize(
    ("row", "now_us", "held"),
    [
        (Row("coming", 3, 7), 99, True),
        (Row("coming", 3, 7), 100, False),  # it has shown nothing for too long
        (Row("coming", 2, 7), 99, False),  # of a move that is over
        (Row("gone", 3), 99, False),
        (Row("here", 3), 99, False),
        (None, 99, False),
    ],
)
def test_a_claim_is_left_alone_as_long_as_it_goes_on(
    row: Row | None, now_us: int, held: bool
) -> None:
    assert P.is_held(row, 3, 100, now_us) == held
