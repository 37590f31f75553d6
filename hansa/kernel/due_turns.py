"""Due turns: which due rows are next when more are due than can be taken in hand. Pure.

By time alone the ten thousand mails of one site would go before everybody's next row. So while
there are too many, what is due is looked through in stretches, a few rows of each site are kept in
mind, and the sites take turns. What must never happen here: a row that is never looked at while
others of its site, or of other sites, are done.
"""

from collections.abc import Sequence
from typing import Final

from hansa.kernel.turns import QUANTUM_S, Turns

Place = tuple[int, str, str]
"""Where a row stands in what is due: when it was ready, its site and its id."""
Name = tuple[str, str]
"""A row's site and id."""

LOOK_MAX: Final = 2_048
"""Rows that are looked at in a stretch."""
LOOK_S: Final = 0.1
"""How often a stretch is looked at beyond the first."""
LINE_MAX: Final = 256
"""Rows of one site that are kept in mind."""
FIRST: Final[Place] = (0, "", "")


class DueTurns:
    """What is known of a backlog: the first stretch of it, and who else has rows beyond that."""

    __slots__ = ("_beyond", "_known", "_lengths", "_looked_at", "_turns")

    def __init__(self) -> None:
        self._turns: Turns[Name] = Turns()
        self._known: set[Name] = set()
        self._lengths: dict[str, int] = {}
        self._beyond: Place | None = None
        self._looked_at = float("-inf")

    def __len__(self) -> int:
        """How many rows are in mind."""
        return len(self._turns)

    def saw(self, rows: Sequence[Place]) -> None:
        """Note the first stretch, in the order of time."""
        for _, site, id in rows:
            self._keep(site, id)
        if len(rows) < LOOK_MAX:
            self._beyond = None
        elif self._beyond is None:
            self._beyond = rows[-1]

    def beyond(self, now: float) -> Place | None:
        """Return behind which row to look for other sites at `now`, None if there is no need to."""
        return self._beyond if now - self._looked_at >= LOOK_S else None

    def saw_beyond(self, rows: Sequence[Place], now: float) -> None:
        """Note a stretch behind `beyond`: who has rows in mind already needs no later ones. After
        the last stretch it goes on with the second."""
        waiting = set(self._lengths)
        for _, site, id in rows:
            if site not in waiting:
                self._keep(site, id)
        self._looked_at = now
        self._beyond = rows[-1] if len(rows) >= LOOK_MAX else None

    def _keep(self, site: str, id: str) -> None:
        name = (site, id)
        length = self._lengths.get(site, 0)
        if length < LINE_MAX and name not in self._known:
            self._known.add(name)
            self._lengths[site] = length + 1
            self._turns.put(site, name)

    def take(self, count: int) -> list[Name]:
        """Return the next rows, at most `count`: of each site one, then of each the second."""
        taken: list[Name] = []
        while len(taken) < count and (name := self._turns.take()) is not None:
            site = name[0]
            self._turns.charge(site, QUANTUM_S)
            self._known.discard(name)
            left = self._lengths.pop(site) - 1
            if left:
                self._lengths[site] = left
            taken.append(name)
        return taken
