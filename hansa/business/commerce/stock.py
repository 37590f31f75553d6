"""Stock: what a ledger of moves adds up to, and what is asked of it. Pure.

`on_hand` is what lies there, `reserved` what of it is promised; 0 <= reserved <= on_hand always.
The counters in the table are a projection of the moves, changed in the same transaction.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["receive", "adjust", "reserve", "release", "claim", "return"]
ReservationState = Literal["held", "claimed", "released"]


@dataclass(frozen=True, slots=True)
class Level:
    """The two counters of an item."""

    on_hand: int = 0
    reserved: int = 0

    @property
    def available(self) -> int:
        """What may still be promised."""
        return self.on_hand - self.reserved


EFFECTS: Final[Mapping[Kind, tuple[int, int]]] = {
    "receive": (1, 0),
    "adjust": (1, 0),
    "reserve": (0, 1),
    "release": (0, -1),
    "claim": (-1, -1),
    "return": (1, 0),
}
"""What one unit of a move does to on_hand and reserved. Only `adjust` may be of less than one."""


class StockRefused(Exception):
    """The move would promise or take away what is not there."""


def apply(level: Level, kind: Kind, quantity: int) -> Level:
    """Return a level after a move. Raises StockRefused, and ValueError for a quantity below one
    (of an adjustment: for zero)."""
    if quantity == 0 or (quantity < 0 and kind != "adjust"):
        raise ValueError(f"{quantity} is no quantity of {kind}")
    on_hand, reserved = EFFECTS[kind]
    after = Level(level.on_hand + on_hand * quantity, level.reserved + reserved * quantity)
    if not 0 <= after.reserved <= after.on_hand:
        raise StockRefused(f"{kind} of {quantity} with {level.available} of {level.on_hand} free")
    return after


def fold(moves: Iterable[tuple[Kind, int]]) -> Level:
    """Return the level that a ledger adds up to. Raises as `apply`."""
    level = Level()
    for kind, quantity in moves:
        level = apply(level, kind, quantity)
    return level


def demand(lines: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return how much of each item lines ask for together, by item in order, so that two lines of
    one item are one demand and two carts take their items in the same order."""
    wanted: dict[str, int] = {}
    for item, quantity in lines:
        if quantity < 1:
            raise ValueError("a line asks for at least one")
        wanted[item] = wanted.get(item, 0) + quantity
    return dict(sorted(wanted.items()))


_NEXT: Final[Mapping[tuple[ReservationState, str], ReservationState]] = {
    ("held", "claim"): "claimed",
    ("held", "release"): "released",
    ("released", "release"): "released",
    ("claimed", "claim"): "claimed",
}


def next_state(state: ReservationState, verb: Literal["claim", "release"]) -> ReservationState:
    """Return the state of a reservation after a verb; both may be said twice. Raises StockRefused
    for what is gone: a claim of what was released, a release of what was claimed."""
    after = _NEXT.get((state, verb))
    if after is None:
        raise StockRefused(f"a {state} reservation cannot be {verb}ed")
    return after
