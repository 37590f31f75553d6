"""Point: where in the history of a collection's rows an index stands."""

from hansa.kernel.structs import Struct


class Point(Struct):
    """A point in the history of a collection: the sequence of its newest event and the event's id,
    empty where that is pruned; up to which change deletions were forgotten; and when that was so,
    in microseconds by the machine's clock."""

    seq: int
    event: str
    forgotten_change: int
    at_us: int
