"""Pace: which statements are slow, so that the next time they run in a thread from the start."""

from typing import Final

INLINE_S: Final = 0.004
"""How long a read may hold the event loop before it is stopped and run again in a thread."""
SLOW_S: Final = 0.002
"""The average above which a statement goes to a thread at once."""
NOTE_S: Final = 0.001
"""A statement that never took longer than this is not remembered at all."""

WATCHED_MAX: Final = 4096
_WEIGHT: Final = 0.25


class Pace:
    """The moving averages of those statements that were slow once, by their text, in seconds.

    `watched` is read on every statement, so it is a plain dictionary, empty in a healthy service.
    A statement that has become fast again leaves it.
    """

    __slots__ = ("watched",)

    def __init__(self) -> None:
        self.watched: dict[str, float] = {}

    def note(self, sql: str, took_s: float) -> None:
        """Count one run of a statement."""
        watched = self.watched
        average = watched.get(sql)
        if average is None:
            if took_s < NOTE_S:
                return
            if len(watched) >= WATCHED_MAX:
                del watched[next(iter(watched))]
            watched[sql] = took_s
            return
        average += (took_s - average) * _WEIGHT
        if average < NOTE_S / 2:
            del watched[sql]
        else:
            watched[sql] = average

    def stopped(self, sql: str) -> None:
        """Count a run that was stopped after INLINE_S: how long it would have taken is unknown."""
        self.watched.pop(sql, None)
        self.note(sql, INLINE_S)
