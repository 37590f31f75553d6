"""Reading: what the archive holds, for those who look at it.

It is of all processes that write one file, and outlives them: kept traces, lines of the log, and
what each process has counted. `Reader` reads from any thread, along an index and a page at a time,
so that a million spans cost no more than a thousand.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from hansa.kernel.observe.archive import NO_FILE, VERSION, Detail, made
from hansa.kernel.observe.logs import Line
from hansa.kernel.observe.rates import (
    EDGE,
    SQL,
    OperationRate,
    StatementRate,
    edge_counts,
    operation_rates,
    statement_rates,
)
from hansa.kernel.observe.spans import Kind
from hansa.kernel.structs import Struct

PAGE: Final = 50
PAGE_MAX: Final = 500
TRACE_SEGMENTS_MAX: Final = 200
BUSY_MS: Final = 1_000
FEW: Final = 2_000
"""So many segments are rather sorted than looked for among all."""


class Row(Struct):
    """A segment as lists show it."""

    id: int
    trace: str
    span: str
    above: str
    kind: str
    name: str
    service: str
    site: str
    start_us: int
    took_us: int
    status: int
    failed: bool
    reason: str
    spans: int
    process: str


class Kept(Struct):
    """A segment with all that is kept of it; statements have their texts."""

    row: Row
    detail: Detail


class Wanted(Struct):
    """Which segments are wanted: those that fit every part that is not empty."""

    kind: str = ""
    """request, call, delivery or due."""
    service: str = ""
    name: str = ""
    """The operation, subscriber or due work."""
    site: str = ""
    failed: bool = False
    took_us: int = 0
    """At least."""
    since_us: int = 0
    """Begun then or later, in microseconds since 1970."""
    before_us: int = 0
    cursor: str = ""
    """Where the page before this one ended."""


class Segments(Struct):
    """A page of segments, the newest first."""

    rows: list[Row]
    cursor: str
    """Where the next page begins; "" after the last one."""


class ProcessRow(Struct):
    """A process that has counted what it does."""

    name: str
    began_us: int
    heard_us: int
    """When it said something last; it does so about once a second."""


class CursorInvalid(ValueError):
    """It is no cursor of ours."""


_COLUMNS: Final = ", ".join(Row.__struct_fields__)
_CURSOR: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
_BY_TIME: Final = "INDEXED BY segments_took"
_LONG: Final = f"SELECT 1 FROM segments {_BY_TIME} WHERE took_us >= ? LIMIT ?"
_COUNTS: Final = (
    "SELECT coalesce(t.text, c.name), c.data FROM counts AS c"
    " LEFT JOIN texts AS t ON typeof(c.name) = 'integer' AND t.id = c.name WHERE c.kind = ?"
)
_TEXTS: Final = "SELECT id, text FROM texts WHERE id IN (SELECT value FROM json_each(?))"


class Reader:
    """A connection that only reads, made when there is something to read; of one thread at a time.

    Where there is no file yet, or one that cannot be read now, there is nothing in it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection: apsw.Connection | None = None
        self._made = NO_FILE

    def segments(self, wanted: Wanted, limit: int = PAGE) -> Segments:
        """Return the newest segments that fit, `PAGE_MAX` at most. Raises CursorInvalid."""
        limit = max(1, min(limit, PAGE_MAX))
        along = self._along(wanted)
        where, given = _where(wanted, along)
        found = self._all(
            f"SELECT {_COLUMNS} FROM segments {along} {where}"
            " ORDER BY start_us DESC, id DESC LIMIT ?",
            [*given, limit + 1],
        )
        rows = [_row(one) for one in found[:limit]]
        return Segments(rows, f"{rows[-1].start_us}-{rows[-1].id}" if len(found) > limit else "")

    def _along(self, wanted: Wanted) -> str:
        """Return the index to read along where SQLite, which knows no numbers, would guess: those
        that failed or took very long are few, and the newest of them may be far back."""
        if wanted.failed:
            return "INDEXED BY segments_failed"
        if wanted.took_us and len(self._all(_LONG, (wanted.took_us, FEW))) < FEW:
            return _BY_TIME
        return ""

    def trace(self, trace: str) -> list[Kept]:
        """Return what is kept of a trace, by its beginning: of more than `TRACE_SEGMENTS_MAX`
        segments the first ones."""
        rows = self._all(
            f"SELECT {_COLUMNS}, detail FROM segments WHERE trace = ? ORDER BY start_us"
            f" LIMIT {TRACE_SEGMENTS_MAX}",
            (trace,),
        )
        details = [msgspec.json.decode(one[-1], type=Detail) for one in rows]
        numbers = {s.name for one in details for s in one.spans if isinstance(s.name, int)}
        texts = dict(self._all(_TEXTS, (msgspec.json.encode(sorted(numbers)).decode(),)))
        for span in (span for one in details for span in one.spans):
            span.name = texts.get(span.name, span.name)
        return [Kept(_row(row[:-1]), detail) for row, detail in zip(rows, details, strict=True)]

    def lines(
        self, *, trace: str = "", level: int = 0, before_us: int = 0, limit: int = PAGE
    ) -> list[Line]:
        """Return the newest lines of the log, of one trace or of a level and above."""
        fields = ", ".join(Line.__struct_fields__)
        parts, given = ["1 = 1"], list[Any]()
        for part, value in (("trace = ?", trace), ("level >= ?", level), ("at_us < ?", before_us)):
            if value:
                parts.append(part)
                given.append(value)
        rows = self._all(
            f"SELECT {fields} FROM lines WHERE {' AND '.join(parts)} ORDER BY at_us DESC"
            f" LIMIT {limit}",
            given,
        )
        return [Line(*one) for one in rows]

    def operations(self, kind: Kind = "request") -> list[OperationRate]:
        """Return how often everything of a kind ran in all processes together, since each began;
        what took the most time in all comes first."""
        return operation_rates(kind, self._all(_COUNTS, (kind,)))

    def statements(self, limit: int = PAGE) -> list[StatementRate]:
        """Return the statements that took the most time in all, likewise."""
        return statement_rates(self._all(_COUNTS, (SQL,)))[:limit]

    def flow(self) -> dict[tuple[str, str, str], int]:
        """Return how often one service asked another or took its event, likewise: (from, to,
        what). `flow.joined` puts it together with what is declared."""
        return edge_counts(self._all(_COUNTS, (EDGE,)))

    def processes(self) -> list[ProcessRow]:
        """Return the processes whose counts are there, the one heard of last first."""
        rows = self._all(
            "SELECT name, began_us, heard_us FROM processes ORDER BY heard_us DESC, name", ()
        )
        return [ProcessRow(*one) for one in rows]

    def size(self) -> tuple[int, int, int]:
        """Return about how many segments there are, when the first began, and the file's bytes."""
        rows = self._all(
            "SELECT coalesce((SELECT max(id) FROM segments), 0),"
            " coalesce((SELECT min(id) FROM segments), 1),"
            " coalesce((SELECT min(start_us) FROM segments), 0)",
            (),
        )
        last, first, first_us = rows[0] if rows else (0, 1, 0)
        return last - first + 1, first_us, self._file.stat().st_size if self._file.exists() else 0

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close(True)
            self._connection = None

    def _all(self, statement: str, given: Sequence[Any]) -> list[Any]:
        """Return the rows of a statement; none where there is no file yet, or not any more."""
        try:
            connection = self._open()
            if connection is None:
                return []
            return connection.execute(statement, tuple(given)).fetchall()
        except apsw.Error:
            self.close()
            return []

    def _open(self) -> apsw.Connection | None:
        now = made(self._file)
        if self._connection is not None and now == self._made:
            return self._connection
        self.close()
        if now == NO_FILE:
            return None
        connection = apsw.Connection(str(self._file), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(BUSY_MS)
        if connection.pragma("user_version") != VERSION:
            connection.close(True)
            return None
        self._connection, self._made = connection, now
        return connection


def _row(values: Sequence[Any]) -> Row:
    fields = list(values)
    fields[11] = bool(fields[11])
    return Row(*fields)


def _where(wanted: Wanted, along: str) -> tuple[str, list[Any]]:
    parts, given = list[str](), list[Any]()
    for part, value in (
        ("service = ?", wanted.service),
        ("name = ?", wanted.name),
        ("site = ?", wanted.site),
        ("kind = ?", wanted.kind),
        # The sign keeps SQLite from the index of times where it is not told to take it.
        ("took_us >= ?" if along == _BY_TIME else "+took_us >= ?", wanted.took_us),
        ("start_us >= ?", wanted.since_us),
        ("start_us < ?", wanted.before_us),
    ):
        if value:
            parts.append(part)
            given.append(value)
    if wanted.failed:
        parts.append("failed = 1")
    if wanted.cursor:
        match = _CURSOR.fullmatch(wanted.cursor)
        if match is None:
            raise CursorInvalid("The cursor is none: send the one of the page before, unchanged.")
        parts.append("start_us <= ? AND (start_us < ? OR id < ?)")
        given += [int(match[1]), int(match[1]), int(match[2])]
    return ("WHERE " + " AND ".join(parts) if parts else ""), given
