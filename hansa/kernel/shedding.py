"""Shedding: who is turned away when there is more to do than can be done. Pure.

A queue that is not short even once in a second stands: it makes everybody wait and nobody faster.
From then on a part of what comes is refused, the least important first, so much that the queue
stays at its target. A burst that empties within the second is let through. Sources: the shortest
wait as the sign of a standing queue is CoDel's (Nichols and Jacobson 2012; RFC 8289), the
controller that finds how much to refuse PIE's (RFC 8033, section 4.2), the level of priorities
that it moves DAGOR's (Zhou et al., "Overload control for scaling WeChat microservices", 2018).
What must never happen here: VITAL work that is refused, or anybody that is while the queue has
long been empty.
"""

from enum import IntEnum
from math import inf
from typing import Final

TARGET_S: Final = 0.1
"""What a queue may cost: a wait that people do not notice yet."""
STANDING_S: Final = 1.0
"""So long must a queue be over its target before anything is refused. A thousand buyers at the same
moment are gone in less."""
STEP_S: Final = 0.1
"""How often the level moves."""
GAIN: Final = 0.1
"""How far it moves in a step, for each second that the queue is over its target."""
TREND: Final = 0.5
"""And for each second by which the queue has grown since the last step."""
DECAY: Final = 0.97
"""What a step leaves of the level where the queue has been all but empty for STANDING_S."""
LEVEL_MAX: Final = 3.0
LEVEL_MIN: Final = 0.01
SHARE_S: Final = 1.0
"""Over how long the shares of the sites are counted."""
OVER_SHARE: Final = 1.25
"""A site that asks for so many times the average of the sites is over its share."""
SITES_MAX: Final = 4_096
"""Sites that are counted at once; those after them are not over their share."""


class Priority(IntEnum):
    """What is given up last comes first."""

    VITAL = 0
    """Health, and what engineers do to help."""
    COMMAND = 1
    """Commands and actions: money may hang on them."""
    READ = 2
    BACKGROUND = 3
    """Due work and deliveries: they have time, and nothing of them is lost."""


class Pressure:
    """How far one queue is over: `level` 0 is not at all; up to 1 BACKGROUND is given up, up to 2
    READ, up to 3 COMMAND, each in part between two whole numbers."""

    __slots__ = ("_before_s", "_ends", "_least_s", "_over", "_since", "level")

    def __init__(self) -> None:
        self.level = 0.0
        self._least_s = inf
        self._before_s = 0.0
        self._over = False
        self._since = 0.0
        self._ends = 0.0

    def waited(self, delay_s: float, now: float) -> None:
        """Note how long something had waited that left the queue at `now` (monotonic seconds)."""
        if now >= self._ends:
            self.settle(now)
        if delay_s < self._least_s:
            self._least_s = delay_s

    def settle(self, now: float) -> None:
        """Move the level if a step is over. A queue that nothing left was empty."""
        late_s = now - self._ends
        if late_s < 0:
            return
        delay_s = 0.0 if self._least_s == inf else self._least_s
        if late_s >= STANDING_S:  # whatever was noted then says nothing of now
            delay_s = self.level = 0.0
        over = delay_s > TARGET_S
        if over != self._over:
            self._over, self._since = over, now
        long = now - self._since >= STANDING_S
        if self.level or (over and long):
            move = GAIN * (delay_s - TARGET_S) + TREND * (delay_s - self._before_s)
            self.level = min(LEVEL_MAX, self.level + move)
            if long and delay_s < TARGET_S / 4:
                self.level *= DECAY
            if self.level < LEVEL_MIN:
                self.level = 0.0
        self._before_s = delay_s
        self._least_s = inf
        self._ends = now + STEP_S


def refused_part(priority: Priority, level: float, over_share: bool) -> float:
    """Return what part of the requests of a priority is refused at a level, 0 to 1; those of a site
    over its share count as of the priority below."""
    if priority == Priority.VITAL:
        return 0.0
    rank = min(Priority.BACKGROUND, priority + over_share)
    return min(1.0, max(0.0, level - (Priority.BACKGROUND - rank)))


class Shedding:
    """Decides request by request; nothing is counted while there is no pressure."""

    __slots__ = ("_counts", "_ends", "_owed", "_total", "refused")

    def __init__(self) -> None:
        self.refused = 0
        """How many were refused so far."""
        self._owed: dict[tuple[Priority, bool], float] = {}
        self._counts: dict[str, int] = {}
        self._total = 0
        self._ends = 0.0

    def refuses(self, priority: Priority, site: str, level: float, now: float) -> bool:
        """Tell whether to refuse a request of a site that comes at `now`. Of a part of 0.3 each
        third or fourth is refused, not those that chance takes."""
        over_share = self._is_over_share(site, now)
        part = refused_part(priority, level, over_share)
        if not part:
            return False
        group = (priority, over_share)
        owed = self._owed.get(group, 0.0) + part
        refuse = owed >= 1.0
        self._owed[group] = owed - refuse
        self.refused += refuse
        return refuse

    def _is_over_share(self, site: str, now: float) -> bool:
        if now >= self._ends:
            self._counts.clear()
            self._total = 0
            self._ends = now + SHARE_S
        counts = self._counts
        count = counts.get(site, 0) + 1
        if count > 1 or len(counts) < SITES_MAX:
            counts[site] = count
            self._total += 1
        return count * len(counts) > OVER_SHARE * self._total

    def retry_after_s(self, level: float) -> int:
        """Return when one that is refused may come again: later the higher the level, and not all
        at the same moment."""
        return 1 + self.refused % (1 + 2 * int(level))
