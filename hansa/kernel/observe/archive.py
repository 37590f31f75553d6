"""Archive: what is kept of a process or of several on a machine, in a SQLite file of its own.

A thread takes what the loop hands over, encodes it and writes it in batches. The file is bounded by
size and by age. It is of use, but nothing depends on it: what cannot be written is counted and let
go, and a file that cannot be read is made anew.
"""

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from hansa.kernel import machine
from hansa.kernel.clock import Clock, MachineClock
from hansa.kernel.observe import payloads
from hansa.kernel.observe.logs import Line
from hansa.kernel.observe.rates import SQL, Total, encoded
from hansa.kernel.observe.spans import Noted, Segment

logger = logging.getLogger("hansa.observe")

WAITING_MAX: Final = 4_096
"""Segments and lines, each, that wait to be written; of more the newest are let go."""
BATCH_S: Final = 0.2
BUSY_MS: Final = 2_000
PRUNE_EVERY: Final = 32
"""Batches between two looks at the size and age of the file."""
PRUNE_ROWS: Final = 2_000
STOP_S: Final = 5.0
TEXTS_MAX: Final = 20_000
PROCESSES_MAX: Final = 64
"""Processes whose counts are kept; of more those heard of last."""
COUNTS_MAX: Final = 16
"""Batches of counts that wait to be written."""
VERSION: Final = 1
APPLICATION: Final = 0x48_54_52_43
"""What SQLite's header says the file is: "HTRC". A file of another kind is never touched."""

AWAY: Final = ".old"
"""What the name of a file that was put away ends in."""
_ENDS: Final = ("-wal", "-shm", "")
"""Of the files that are one database; the one with the name goes last."""
_APPLICATION_AT: Final = 68  # https://www.sqlite.org/fileformat.html#application_id

_SCHEMA: Final = """
CREATE TABLE segments (id INTEGER PRIMARY KEY, trace TEXT NOT NULL, span TEXT NOT NULL,
  above TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, service TEXT NOT NULL,
  site TEXT NOT NULL, start_us INTEGER NOT NULL, took_us INTEGER NOT NULL, status INTEGER NOT NULL,
  failed INTEGER NOT NULL, reason TEXT NOT NULL, spans INTEGER NOT NULL, process TEXT NOT NULL,
  detail BLOB NOT NULL);
CREATE INDEX segments_trace ON segments (trace);
CREATE INDEX segments_start ON segments (start_us, took_us, kind, name, service, site);
CREATE INDEX segments_kind ON segments (kind, start_us, took_us, name, service, site);
CREATE INDEX segments_name ON segments (name, start_us, took_us, kind, site);
CREATE INDEX segments_service ON segments (service, start_us, took_us, kind, site);
CREATE INDEX segments_site ON segments (site, start_us, took_us, kind, name, service);
CREATE INDEX segments_took ON segments (took_us, start_us, kind, name, service, site, failed);
CREATE INDEX segments_failed ON segments (start_us, took_us, kind, name, service, site)
  WHERE failed = 1;
CREATE TABLE lines (id INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, level INTEGER NOT NULL,
  logger TEXT NOT NULL, text TEXT NOT NULL, trace TEXT NOT NULL, process TEXT NOT NULL);
CREATE INDEX lines_at ON lines (at_us);
CREATE INDEX lines_trace ON lines (trace) WHERE trace <> '';
CREATE INDEX lines_level ON lines (level, at_us);
CREATE TABLE processes (name TEXT PRIMARY KEY, began_us INTEGER NOT NULL,
  heard_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counts (kind TEXT NOT NULL, name NOT NULL, process TEXT NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (kind, name, process)) WITHOUT ROWID;
CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
"""

_SEGMENT: Final = f"INSERT INTO segments VALUES (NULL, {', '.join(['?'] * 15)})"
_LINE: Final = "INSERT INTO lines VALUES (NULL, ?, ?, ?, ?, ?, ?)"
_COUNT: Final = "INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?)"
_HEARD: Final = (
    "INSERT INTO processes VALUES (?1, ?2, ?2) ON CONFLICT (name) DO UPDATE SET heard_us = ?2"
)
_GONE: Final = """DELETE FROM processes WHERE heard_us < ? OR name IN
  (SELECT name FROM processes ORDER BY heard_us DESC LIMIT -1 OFFSET ?)"""

NO_FILE: Final = (0, 0)


def made(file: Path) -> tuple[int, int]:
    """Return what tells a file from another one of its name; `NO_FILE` for none."""
    try:
        found = file.stat()
    except OSError:
        return NO_FILE
    return found.st_dev, found.st_ino


class KeptSpan(msgspec.Struct, array_like=True):
    """Something inside of a segment; see `spans.Span`."""

    under: int
    """The number of the span around it, from 1; 0 is the segment itself."""
    kind: str
    """sql, transaction, call, remote or outside."""
    name: str | int
    """An operation's name, or a statement's text; the file has the text's number in `texts`."""
    begin_us: int
    """Since the segment began."""
    took_us: int
    note: str | int
    """The number of rows; of a remote call the span's own name."""
    error: str


class Detail(msgspec.Struct, array_like=True):
    """What a row of `segments` holds beside its columns."""

    spans: list[KeptSpan]
    principal: str = ""
    error: str = ""
    arguments: str = ""
    answer: str = ""
    lost: int = 0


class OtherFile(Exception):
    """The file is of another kind, and stays as it is."""


def remove(file: Path) -> None:
    """Delete an archive that nobody writes, with what was put away of it. Raises OSError."""
    for name in (f"{file}{AWAY}", str(file)):
        for end in _ENDS:
            Path(name + end).unlink(missing_ok=True)


class Archive:
    """The file, and the thread that writes it."""

    def __init__(
        self,
        file: Path,
        *,
        bytes_max: int = 256 << 20,
        age_max_s: float = 3 * 86_400.0,
        process: str = "",
        clock: Clock | None = None,
        written: Callable[[Sequence[Segment], int], None] | None = None,
    ) -> None:
        """Name the file; `start` opens it. `process` tells several that write one file apart.
        `written` is called in the thread with what was kept and the clock's offset."""
        self.file = file
        self.lost = 0
        """Segments and lines that were let go: too many, or they could not be written."""
        self.trouble = ""
        """Why nothing can be written now."""
        self._bytes_max = bytes_max
        self._age_max_us = int(age_max_s * 1_000_000)
        self._process = process or str(os.getpid())
        self._clock = clock or MachineClock()
        self._written = written
        self._segments: deque[Segment] = deque()
        self._lines: deque[Line] = deque()
        self._counts: deque[Sequence[Total]] = deque(maxlen=COUNTS_MAX)
        self._texts: dict[str, int] = {}
        self._awake = threading.Event()
        self._hurry = threading.Event()
        self._stopping = threading.Event()
        self._wrote = threading.Condition()
        self._rounds = 0
        self._thread: threading.Thread | None = None
        self._connection: apsw.Connection | None = None
        self._made = NO_FILE

    # ---- from the loop, and from anywhere

    def keep(self, segment: Segment) -> None:
        """Have a segment written soon."""
        if len(self._segments) >= WAITING_MAX:
            self.lost += 1
            return
        self._segments.append(segment)
        if not self._awake.is_set():
            self._awake.set()

    def keep_line(self, line: Line) -> None:
        """Have a line of the log written soon."""
        if len(self._lines) >= WAITING_MAX:
            self.lost += 1
            return
        self._lines.append(line)
        if not self._awake.is_set():
            self._awake.set()

    def keep_counts(self, totals: Sequence[Total]) -> None:
        """Have what was counted written soon, and that this process is there."""
        self._counts.append(totals)
        self._awake.set()

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._work, name="hansa-observe", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end; a disk that does not answer is left behind."""
        self._stopping.set()
        self._hurry.set()
        self._awake.set()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def flush(self) -> None:
        """Wait until what was handed over before is written, at most a few seconds."""
        with self._wrote:
            wanted = self._rounds + 2  # a round that has begun may have missed the last ones
            self._wrote.wait_for(lambda: self._rounds >= wanted or not self._alive(), STOP_S)

    def _alive(self) -> bool:
        self._hurry.set()
        self._awake.set()
        return self._thread is not None and self._thread.is_alive()

    # ---- in the thread

    def _work(self) -> None:
        count = 0
        while True:
            self._awake.wait()
            if not self._stopping.is_set():
                self._hurry.wait(BATCH_S)
            self._hurry.clear()
            self._awake.clear()
            last = self._stopping.is_set()  # after the clearing: it may have been set before
            self._batch()
            count += 1
            if count % PRUNE_EVERY == 1:
                self._attempt(self._prune)
            with self._wrote:
                self._rounds += 1
                self._wrote.notify_all()
            if last:
                break
        if self._connection is not None:
            with contextlib.suppress(apsw.Error):
                self._connection.close(True)

    def _batch(self) -> None:
        segments = [self._segments.popleft() for _ in range(len(self._segments))]
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        counts = [self._counts.popleft() for _ in range(len(self._counts))]
        offset_us = self._clock.now_us() - int(machine.monotonic() * 1_000_000)
        if (segments or lines or counts) and not self._attempt(
            lambda: self._write(segments, lines, counts, offset_us)
        ):
            self.lost += len(segments) + len(lines)
        if segments and self._written is not None:
            self._written(segments, offset_us)

    def _attempt(self, step: Callable[[], None]) -> bool:
        """Do something with the file; False when it could not be done."""
        try:
            step()
        except (apsw.NotADBError, apsw.CorruptError) as error:
            self._told(error)
            self._put_away()
            return False
        except (apsw.Error, OSError, OtherFile) as error:
            self._told(error)
            return False
        self.trouble = ""
        return True

    def _told(self, error: Exception) -> None:
        if not self.trouble:
            logger.warning("%s cannot be written: %s; traces are lost", self.file, error)
        self.trouble = str(error)

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(apsw.Error):
                self._connection.close(True)
            self._connection = None

    def _put_away(self) -> None:
        """Make room for a new file: this one cannot be read, or not by this release. It goes when
        all in it is too old."""
        self._disconnect()
        for end in _ENDS:
            with contextlib.suppress(OSError):
                os.replace(f"{self.file}{end}", f"{self.file}{AWAY}{end}")

    def _prune_away(self, before_us: int) -> None:
        """Delete what was put away, once nothing in it is younger; a file that somebody has named
        by mistake is not ours to delete."""
        away = Path(f"{self.file}{AWAY}")
        try:
            with away.open("rb") as stream:
                stream.seek(_APPLICATION_AT)
                is_ours = stream.read(4) == APPLICATION.to_bytes(4)
                written_us = int(os.fstat(stream.fileno()).st_mtime * 1_000_000)
        except FileNotFoundError:
            return
        if is_ours and written_us < before_us:
            for end in _ENDS:
                Path(f"{away}{end}").unlink(missing_ok=True)

    def _open(self) -> apsw.Connection:
        if self._connection is not None:
            if made(self.file) == self._made:
                return self._connection
            self._disconnect()  # somebody has removed it, or put another one in its place
        handle = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o600)  # customers' data may be in it
        os.close(handle)
        connection = self._connection = apsw.Connection(str(self.file))
        self._made = made(self.file)
        connection.set_busy_timeout(BUSY_MS)
        application = connection.pragma("application_id")
        if application != APPLICATION and (
            application or connection.execute("SELECT 1 FROM sqlite_master").fetchall()
        ):
            self._disconnect()
            raise OtherFile("it is a database of another kind")
        connection.pragma("journal_mode", "WAL")
        connection.pragma("synchronous", "OFF")
        connection.pragma("journal_size_limit", 8 << 20)
        connection.pragma("cache_size", -8_192)
        version = connection.pragma("user_version")
        if version not in (0, VERSION):
            self._put_away()
            return self._open()
        if not version:
            connection.execute("BEGIN IMMEDIATE")  # several processes may begin at once
            with connection:
                if not connection.pragma("user_version"):
                    connection.execute(_SCHEMA)
                    connection.pragma("application_id", APPLICATION)
                    connection.pragma("user_version", VERSION)
            connection.execute("COMMIT")
        texts: list[Any] = connection.execute("SELECT text, id FROM texts").fetchall()
        self._texts = dict(texts)
        return connection

    def _write(
        self,
        segments: Sequence[Segment],
        lines: Sequence[Line],
        counts: Sequence[Sequence[Total]],
        offset_us: int,
    ) -> None:
        connection = self._open()
        known = dict(self._texts)
        try:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                connection.executemany(_SEGMENT, [self._row(one, offset_us) for one in segments])
                connection.executemany(
                    _LINE,
                    [(*msgspec.structs.astuple(one), self._process) for one in lines],
                )
                if counts:
                    connection.execute(_HEARD, (self._process, self._clock.now_us()))
                    connection.executemany(_COUNT, [self._total(one) for b in counts for one in b])
            connection.execute("COMMIT")
        except BaseException:
            self._texts = known
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _row(self, one: Segment, offset_us: int) -> tuple[Any, ...]:
        start_us = int(one.began * 1_000_000) + offset_us
        trace = one.trace
        return (
            trace.id, trace.span, trace.above, one.kind, one.name, one.service, one.site, start_us,
            one.took_us, one.status, int(one.failed), one.reason, 1 + len(one.spans), self._process,
            msgspec.json.encode(self._detail(one)),
        )  # fmt: skip

    def _total(self, one: Total) -> tuple[Any, ...]:
        name: str | int = self._text(one.name) if one.kind == SQL else one.name
        return (one.kind, name, self._process, encoded(one.data))

    def _detail(self, one: Segment) -> Detail:
        arguments, answer = one.arguments, one.answer
        return Detail(
            [self._span(one, span) for span in one.spans],
            one.principal,
            one.error,
            payloads.told(arguments) if arguments else "",
            payloads.answered(answer.body, one.returns, answer.content_type) if answer else "",
            one.lost,
        )

    def _span(self, one: Segment, span: Noted | None) -> KeptSpan:
        if span is None:  # it had not ended when the segment did
            return KeptSpan(0, "outside", "unfinished", 0, 0, "", "")
        under, kind, name, began, ended, note, error = span
        text: str | int = self._text(name) if kind == "sql" else name
        begin_us = int((began - one.began) * 1_000_000)
        took_us = int((ended - began) * 1_000_000)
        return KeptSpan(under, kind, text, begin_us, took_us, note, error)

    def _text(self, text: str) -> str | int:
        number = self._texts.get(text)
        if number is not None:
            return number
        if len(self._texts) >= TEXTS_MAX or self._connection is None:
            return text
        for (found,) in self._connection.execute(
            "INSERT INTO texts (text) VALUES (?1) ON CONFLICT (text) DO UPDATE SET text = ?1"
            " RETURNING id",
            (text,),
        ):
            self._texts[text] = number = found
        return text if number is None else number

    def _prune(self) -> None:
        """Delete what is too old, and the oldest while the file is too large."""
        connection = self._open()
        before_us = self._clock.now_us() - self._age_max_us
        self._prune_away(before_us)
        for table, column in (("segments", "start_us"), ("lines", "at_us")):
            while True:
                connection.execute(
                    f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table}"
                    f" WHERE {column} < ? ORDER BY {column} LIMIT {PRUNE_ROWS})",
                    (before_us,),
                )
                if connection.changes() < PRUNE_ROWS or self._stopping.is_set():
                    break
        connection.execute(_GONE, (before_us, PROCESSES_MAX))
        connection.execute("DELETE FROM counts WHERE process NOT IN (SELECT name FROM processes)")
        while self._used(connection) > self._bytes_max and not self._stopping.is_set():
            gone = 0
            for table in ("segments", "lines"):
                connection.execute(
                    f"DELETE FROM {table} WHERE id IN"
                    f" (SELECT id FROM {table} ORDER BY id LIMIT {PRUNE_ROWS})"
                )
                gone += connection.changes()
            if not gone:
                break

    @staticmethod
    def _used(connection: apsw.Connection) -> int:
        """Return the bytes in use; what was deleted is used again before the file grows."""
        pages = connection.pragma("page_count") - connection.pragma("freelist_count")
        return int(pages * connection.pragma("page_size"))
