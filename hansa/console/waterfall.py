"""Waterfall: the bars of a trace as they are drawn: from 0 to 1,000 on a common scale. Pure."""

from collections.abc import Sequence
from typing import Final

from hansa.kernel.observe.reading import Kept
from hansa.kernel.observe.waterfall import bars
from hansa.kernel.structs import Struct

SCALE: Final = 1_000
WIDTH_LEAST: Final = 4
"""So that the shortest can be seen."""
DEPTH_MAX: Final = 12
BARS_MAX: Final = 1_000
REPEATED: Final = 3
"""From so many times on, the same statement within one piece of work is called repeated."""


class Drawn(Struct):
    """A bar, where it is drawn, and what stands beside it."""

    depth: int
    kind: str
    name: str
    x: int
    width: int
    took_us: int
    begin_us: int
    rows: int | None
    error: str
    is_segment: bool
    repeated: int
    """How often the same statement ran in the same piece of work, where it is often."""


class Fall(Struct):
    """All bars of a trace; `left_out` are those above the most that are shown."""

    bars: list[Drawn]
    took_us: int
    left_out: int


def drawn(kept: Sequence[Kept]) -> Fall:
    """Return the bars of a trace as `Reader.trace` gives it."""
    found = bars(kept)
    whole = max((one.begin_us + one.took_us for one in found), default=0) or 1
    times: dict[tuple[int, str], int] = {}
    for one in found:
        if one.kind == "sql":
            times[one.segment, one.name] = times.get((one.segment, one.name), 0) + 1
    shown: list[Drawn] = []
    for one in found[:BARS_MAX]:
        x = min(SCALE - WIDTH_LEAST, max(0, one.begin_us) * SCALE // whole)
        width = min(SCALE - x, max(WIDTH_LEAST, one.took_us * SCALE // whole))
        again = times.get((one.segment, one.name), 0) if one.kind == "sql" else 0
        shown.append(
            Drawn(
                min(one.depth, DEPTH_MAX), one.kind, one.name, x, width, one.took_us, one.begin_us,
                one.rows, one.error, one.is_segment, again if again >= REPEATED else 0,
            )
        )  # fmt: skip
    return Fall(shown, whole, len(found) - len(shown))
