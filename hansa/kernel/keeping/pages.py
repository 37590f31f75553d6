"""Pages: SQLite files copied page by page while others write them (sqlite.org/backup.html).

The copy is of the snapshot that a read transaction holds, so it never begins anew under load, and
no writer waits for it; the write-ahead log grows while it runs.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import apsw

PAGES: Final = 2_000
"""Pages copied at a time."""
LOCK_WAIT_MS: Final = 30_000


def connect(file: Path) -> apsw.Connection:
    """Open a file that another process may have open. Raises apsw.Error."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(LOCK_WAIT_MS)
        connection.wal_autocheckpoint(0)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def snapshot(file: Path) -> Iterator[apsw.Connection]:
    """Hold the file as it is now, on a connection that reads it."""
    connection = connect(file)
    try:
        hold(connection)
        yield connection
    finally:
        connection.close(True)


def hold(connection: apsw.Connection) -> None:
    """Begin a snapshot on a connection, which lasts until it is closed."""
    connection.execute("BEGIN")
    look(connection)


def look(connection: apsw.Connection) -> None:
    """Read something, so that the file and its log are opened."""
    connection.execute("SELECT count(*) FROM sqlite_master").fetchall()


@contextmanager
def held(files: Sequence[Path]) -> Iterator[None]:
    """Have nobody write to some files; who reads them is not disturbed."""
    with ExitStack() as stack:
        for file in files:
            connection = connect(file)
            stack.callback(connection.close, True)
            connection.execute("BEGIN IMMEDIATE")
        yield


def copy(source: apsw.Connection, to: Path) -> None:
    """Copy the snapshot of a connection into a new file, and check the copy's structure.

    Raises apsw.Error, which is CorruptError for a damaged file: its copy would be no better.
    """
    target = apsw.Connection(str(to))
    try:
        target.pragma("synchronous", "OFF")  # the manifest's digest is made of what was synced
        with target.backup("main", source, "main") as pages:
            while not pages.done:
                pages.step(PAGES)
        found = target.execute("PRAGMA quick_check(1)").fetchall()[0][0]
        target.pragma("journal_mode", "delete")  # one file, with no other beside it
    finally:
        target.close(True)
    if found != "ok":
        raise apsw.CorruptError(str(found))
