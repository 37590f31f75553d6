"""Protocol: how a site moves, as steps that may be broken off, repeated and come late. Pure.

Three keep something of a move, each in a row of its own database: the home, which tells everybody
where a site is, and the two cells. Whoever moves a site (the mover) keeps nothing: it looks at the
three and does what comes next.

    home    none ------- plan -----> to ------ flip -----> from ------ finish -----> none
    source  here ------- fence ----> moving -------------- leave ----> gone, erased
    target  nothing ---- claim ----> coming -- arrive ---> here

The commit of `arrive` decides: before it the move can be taken back, after it only gone on with.
Every message carries the epoch of its move, which rises with each one, taken back or not; so one
that was held up on the way is refused when it is too late. The epoch of a move is one more than
that of the site where it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Residence = Literal["here", "moving", "gone", "coming", "going", "erased"]
"""What a site is in a cell. `moving`: fenced, its rows are being copied. `gone`: in another cell.
`coming`: not all of it is here yet. `going` and `erased`: never again."""
Step = Literal["plan", "fence", "copy", "flip", "leave", "erase", "finish", "clear", "keep",
               "unplan", "done"]  # fmt: skip


class OutOfTurn(Exception):
    """A message of a move that is over, or that is not this cell's to obey."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a cell keeps of a site. `token` names the copy that is under way."""

    state: Residence
    epoch: int
    token: int = 0


# ---- a cell


def fence(row: Row | None, epoch: int) -> Row:
    """Return the row of the source from when on nothing of the site is written. Raises OutOfTurn.

    A cell without a row has had the site from the beginning.
    """
    if row is None or (row.state == "here" and row.epoch < epoch):
        return Row("moving", epoch)
    if row == Row("moving", epoch, row.token):
        return row
    raise OutOfTurn(f"it is {row.state} in epoch {row.epoch}, not to be fenced in {epoch}")


def claim(row: Row | None, epoch: int, token: int) -> Row:
    """Return the row of the target while a copy goes in; `here` when it is whole already.

    A copy under an older token can write nothing more. Raises OutOfTurn.
    """
    if row is not None and row.state == "here" and row.epoch == epoch:
        return row
    if row is None or (row.state == "gone" and row.epoch < epoch):
        return Row("coming", epoch, token)
    if row.state == "coming" and row.epoch <= epoch:
        return Row("coming", epoch, max(token, row.token + 1))
    raise OutOfTurn(f"it is {row.state} in epoch {row.epoch}, not to come in {epoch}")


def is_held(row: Row | None, epoch: int, until_us: int, now_us: int) -> bool:
    """Tell whether the target is to be left to who has claimed it for this move, and has shown that
    it goes on: in a cell of several processes each may be asked."""
    return row is not None and row.state == "coming" and row.epoch == epoch and now_us < until_us


def writes(row: Row | None, claimed: Row) -> bool:
    """Tell whether a copy may still write."""
    return row == claimed


def arrive(row: Row | None, claimed: Row) -> Row:
    """Return the row of the target from when on the site is there. Raises OutOfTurn."""
    if not writes(row, claimed):
        raise OutOfTurn("another copy of it, or none, is wanted by now")
    return Row("here", claimed.epoch)


def clear(row: Row | None, epoch: int) -> Row:
    """Return the row of a target where the site will not come in this epoch. Raises OutOfTurn when
    it is there already."""
    if row is None or (row.state in ("coming", "gone") and row.epoch <= epoch):
        return Row("gone", epoch)
    raise OutOfTurn(f"it is {row.state} in epoch {row.epoch}: too late to take {epoch} back")


def keep(row: Row | None, epoch: int) -> Row:
    """Return the row of a source that keeps the site after all. Raises OutOfTurn."""
    if row is None or (row.epoch <= epoch and row.state in ("moving", "here")):
        return Row("here", epoch)
    raise OutOfTurn(f"it is {row.state} in epoch {row.epoch}, not to be kept in {epoch}")


def leave(row: Row | None, epoch: int) -> Row:
    """Return the row of a source that the site has left. Raises OutOfTurn."""
    if row is not None and row.epoch == epoch and row.state in ("moving", "gone"):
        return Row("gone", epoch)
    told = "here" if row is None else f"{row.state} in epoch {row.epoch}"
    raise OutOfTurn(f"it is {told}, and has not left in {epoch}")


def may_erase(row: Row | None, epoch: int) -> bool:
    """Tell whether the rows of a site are to go from a cell that it has left."""
    return row == Row("gone", epoch)


# ---- the home


@dataclass(frozen=True, slots=True)
class Home:
    """Where a site is, and what it is in the middle of: a move `to` the cell `other`, or the rest
    of one `from` it."""

    cell: str
    epoch: int
    move: Literal["none", "to", "from"] = "none"
    other: str = ""


def plan(home: Home, to: str) -> Home:
    """Begin a move. Raises OutOfTurn during another one."""
    if home.move == "none" and home.cell != to:
        return replace(home, move="to", other=to)
    if home.move == "to" and home.other == to:
        return home
    raise OutOfTurn(f"it moves {home.move} {home.other} already")


def flip(home: Home, epoch: int) -> Home:
    """Have everybody find the site where it went. Raises OutOfTurn."""
    if home.move == "to" and home.epoch + 1 == epoch:
        return Home(home.other, epoch, "from", home.cell)
    if home.epoch == epoch and home.move == "from":
        return home
    raise OutOfTurn(f"its epoch is {home.epoch}, not the one before {epoch}")


def end(home: Home, epoch: int) -> Home:
    """End a move, done or taken back; one that was taken back has used its epoch up. Raises
    OutOfTurn."""
    if home.move == "none" and home.epoch == epoch:
        return home
    if (home.move == "from" and home.epoch == epoch) or (
        home.move == "to" and home.epoch + 1 == epoch
    ):
        return Home(home.cell, epoch)
    raise OutOfTurn(f"its epoch is {home.epoch}, and the move of {epoch} is not under way")


# ---- the mover


def next_step(home: Home, source: Row | None, target: Row | None, to: str, *, rows: bool) -> Step:
    """Return what is to be done next so that a site gets into a cell, seeing what the three keep.

    `source` and `target` are of the move that is under way. `rows` is whether the source still has
    any. To wish a site where it is leaving from takes the move back as long as that is possible.
    """
    if home.move == "none":
        return "done" if home.cell == to else "plan"
    if home.move == "from":
        if source is not None and source.state == "moving":
            return "leave"
        return "erase" if rows else "finish"
    epoch = home.epoch + 1
    if target is not None and target.state == "here" and target.epoch == epoch:
        return "flip"
    cleared = target == Row("gone", epoch)
    if home.other == to and not cleared:
        return "copy" if source is not None and source.state == "moving" else "fence"
    if not cleared:
        return "clear"
    return "unplan" if source == Row("here", epoch) else "keep"


STEPS_MAX = 24
"""More than any way through takes, one taken back and begun again included; steps that are asked
for again while they are under way count once."""


def is_same(services: Sequence[str], others: Sequence[str]) -> bool:
    """Tell whether two cells can have the same sites: they serve the same of what sites use."""
    return set(services) == set(others)
