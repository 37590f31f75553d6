"""Statements: what an engine tells of each statement that it runs, and the counts by their text.

Of a statement the text is noted, the time and the number of rows; never its values.
"""

from collections.abc import Iterable
from typing import Final

from hansa.kernel import machine
from hansa.kernel.observe.spans import SPANS_MAX, Noted, current, short
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
            spans = here[0].spans
            if len(spans) < SPANS_MAX:
                spans.append((here[1], "sql", sql, began, ended, rows, error))
                return
            here[0].lost += 1
        self.count(((0, "sql", sql, began, ended, rows, error),))

    def failed(self, sql: str, began: float, error: BaseException) -> None:
        """Note one that failed just now, if anybody wants to know."""
        if self.noted:
            self.note(sql, began, machine.monotonic(), 0, short(error))

    def count(self, spans: Iterable[Noted | None]) -> None:
        """Count the statements among spans."""
        vitals = self.by_text
        for span in spans:
            if span is None or span[1] != "sql":
                continue
            _, _, sql, began, ended, rows, error = span
            vital = vitals.get(sql) or self._vital(sql)
            took_s = ended - began
            vital.count += 1
            vital.total_s += took_s
            vital.rows += int(rows)
            if took_s > vital.longest_s:
                vital.longest_s = took_s
            if error:
                vital.failed += 1

    def _vital(self, sql: str) -> StatementVital:
        """Return the counts of a text that is new; of too many, those of all others together."""
        text = sql if len(self.by_text) < TEXTS_MAX else OTHER
        return self.by_text.setdefault(text, StatementVital())
