"""History: what happened in a run, a line for each thing, in the order in which it happened."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from hansa.simulate.loop import VirtualLoop

WORLD: Final = "*"
"""Who does what nobody in particular does: the mishaps."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened: virtual seconds since the start, to whom, what, and about what."""

    at_s: float
    who: str
    what: str
    about: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.at_s:11.6f}  {self.who:<8}  {self.what}"


class History:
    """The lines of a run."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.start_s = loop.now
        self.lines: list[Line] = []

    def note(self, who: str, what: str, *about: str) -> None:
        """Add a line; `about` names the things of the services that it is about."""
        self.lines.append(Line(self._loop.now - self.start_s, who, what, about))

    def digest(self) -> str:
        """Return what two runs have in common that went the same way."""
        return blake2b("\n".join(map(str, self.lines)).encode(), digest_size=16).hexdigest()


def relevant(lines: list[Line], about: set[str]) -> list[Line]:
    """Return the lines on some things, and every mishap on the way."""
    return [one for one in lines if one.who == WORLD or about.intersection(one.about)]
