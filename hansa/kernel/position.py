"""Position: what a command answers, so that who reads later, wherever, sees at least that much.

Written `cell:epoch:number`: where it was written, in which epoch of the site, and the place in the
cell's log. The epoch rises with each move of the site, so it tells a cell that the site has left,
and that has not been told so yet, that what it has is too old.
"""

from dataclasses import dataclass

from hansa.kernel.problems import Invalid


@dataclass(frozen=True, slots=True)
class Position:
    """A position."""

    cell: str
    epoch: int
    number: int

    def __str__(self) -> str:
        return f"{self.cell}:{self.epoch}:{self.number}"


def read_position(text: str) -> Position:
    """Return the position that a request came with. Raises Invalid (`invalid-position`)."""
    cell, _, numbers = text.partition(":")
    epoch, _, number = numbers.partition(":")
    if not (_is_number(epoch) and _is_number(number)):
        raise Invalid(
            "Hansa-Position is cell:epoch:position, as an answer gave it.",
            slug="invalid-position",
        )
    return Position(cell, int(epoch), int(number))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20
