"""Turns: who is next when several sites wait for the same thing. Pure.

Each site has a line of its own, and the lines take turns; what a turn has cost is charged
afterwards, and who has used up its credit waits until the others have had theirs. So a site that
sends ten thousand commands makes its own line longer and nobody else's. Source: surplus round robin
(Adiseshu, Parulkar, Varghese 1996), after deficit round robin (Shreedhar, Varghese 1995).
What must never happen here: a site that waits for more than one round of the others.
"""

from collections import deque
from typing import Final, Generic, TypeVar

T = TypeVar("T")

QUANTUM_S: Final = 0.0005
"""What each line gets for a round: a few small commands."""
TURN_S: Final = QUANTUM_S / 16
"""What a turn costs at the least, paid when it is taken: what is in hand counts, too."""
DEBT_MAX: Final = 64 * QUANTUM_S
"""What can be owed at most: one slow command does not shut a site out for long."""


class _Line(Generic[T]):
    __slots__ = ("credit_s", "items", "site")

    def __init__(self, site: str) -> None:
        self.site = site
        self.items: deque[T] = deque()
        self.credit_s = QUANTUM_S


class Turns(Generic[T]):
    """The lines of all sites that wait for something; a site without anything takes no memory."""

    __slots__ = ("_lines", "_ring", "count")

    def __init__(self) -> None:
        self._lines: dict[str, _Line[T]] = {}
        self._ring: deque[_Line[T]] = deque()
        self.count = 0
        """How many wait, in all lines."""

    def __len__(self) -> int:
        return self.count

    def put(self, site: str, item: T) -> None:
        """Let an item wait at the end of its site's line."""
        line = self._lines.get(site)
        if line is None:
            line = self._lines[site] = _Line(site)
            self._ring.append(line)
        line.items.append(item)
        self.count += 1

    def take(self) -> T | None:
        """Return what is next, None if nothing waits. Within a site it is first come, first
        served."""
        ring = self._ring
        if not ring:
            return None
        line = ring[0]
        while line.credit_s <= 0 and len(ring) > 1:
            line.credit_s += QUANTUM_S
            ring.rotate(-1)
            line = ring[0]
        item = line.items.popleft()
        line.credit_s -= TURN_S
        self.count -= 1
        if not line.items:
            ring.popleft()
            del self._lines[line.site]
        return item

    def charge(self, site: str, cost_s: float) -> None:
        """Note what a turn of a site has cost; one that waits for nothing any more owes nothing."""
        line = self._lines.get(site)
        if line is not None:
            line.credit_s = max(line.credit_s - max(0.0, cost_s - TURN_S), -DEBT_MAX)

    def crowded_out(self, site: str) -> T | None:
        """Take away and return the last item of the longest line, to make room for one of `site`;
        None when no line is longer than that of `site`."""
        longest = max(self._ring, key=lambda line: len(line.items), default=None)
        own = self._lines.get(site)
        if longest is None or len(longest.items) <= (len(own.items) if own else 0) + 1:
            return None
        self.count -= 1
        return longest.items.pop()
