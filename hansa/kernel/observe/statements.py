"""Statements: what an engine tells of each statement that it runs, and the counts by their text.

Of a statement the text is noted, the time and the number of rows; never its values.
"""

from typing import Final

from hansa.kernel import machine
from hansa.kernel.observe.spans import SPANS_MAX, current, short
from hansa.kernel.observe.vitals import StatementVital

TEXTS_MAX: Final = 5_000
"""Statements that are counted one by one; what comes after is counted as one."""
OTHER: Final = "(other statements)"


class Statements:
    """The statements of a cell in this process."""

    __slots__ = ("by_text", "noted")

    def __init__(self) -> None:
        self.by_text: dict[str, StatementVital] = {}
        self.noted = False
        """Whether anybody wants to know; the engine asks this before it tells."""

    def note(self, sql: str, began: float, ended: float, rows: int, error: str = "") -> None:
        """Note a statement in the segment of the code that ran it, which counts it when it is done;
        outside of one, count it. The times are `machine.monotonic`'s."""
        here = current.get()
        if here is not None:
            segment = here[0]
            if len(segment.spans) < SPANS_MAX:
                segment.spans.append((here[1], "sql", sql, began, ended, rows, error))
                return
            segment.lost += 1
        self.add(sql, ended - began, rows, error)

    def failed(self, sql: str, began: float, error: BaseException) -> None:
        """Note one that failed just now, if anybody wants to know."""
        if self.noted:
            self.note(sql, began, machine.monotonic(), 0, short(error))

    def add(self, sql: str, took_s: float, rows: int | str, error: str) -> None:
        """Count one run of a statement."""
        vital = self.by_text.get(sql)
        if vital is None:
            text = sql if len(self.by_text) < TEXTS_MAX else OTHER
            vital = self.by_text.setdefault(text, StatementVital())
        vital.count += 1
        vital.total_s += took_s
        vital.rows += int(rows)
        if error:
            vital.failed += 1
        if took_s > vital.longest_s:
            vital.longest_s = took_s
