"""Opening the file: every connection with the same safe settings; and the lock of its owner."""

import fcntl
import os
from typing import Final, Literal

import apsw

from hansa.kernel.problems import StorageFailed

Synchronous = Literal["FULL", "OFF"]

STATEMENTS_KEPT: Final = 512
"""How many prepared statements a connection keeps."""
WAL_BYTES_MAX: Final = 64 << 20
"""Above this the writer starts the write-ahead log anew between two batches."""


def connect(
    path: str, *, vfs: str | None, synchronous: Synchronous, cache_kb: int, writes: bool
) -> apsw.Connection:
    """Open the database. Raises apsw.Error when it cannot be opened or is no SQLite database."""
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if writes else 0)
    connection = _open(path, flags, vfs)
    try:
        connection.pragma("cache_size", -cache_kb)
        if writes:
            mode = connection.pragma("journal_mode", "wal")
            if mode != "wal":
                raise apsw.CantOpenError(f"its journal mode stays {mode!r} instead of WAL")
            connection.pragma("journal_size_limit", WAL_BYTES_MAX)
        else:
            connection.pragma("query_only", True)
        connection.pragma("synchronous", synchronous)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_behind(path: str, *, vfs: str | None, synchronous: Synchronous) -> apsw.Connection:
    """Open a database that `connect` has made, for its checkpoints alone. Raises as `connect`.

    They need no schema, so it is not read: a connection keeps 3 MB of thousands of tables.
    """
    connection = _open(path, apsw.SQLITE_OPEN_READWRITE, vfs)
    try:
        if synchronous != "FULL":  # as it is by itself; to say it would read the schema
            connection.pragma("synchronous", synchronous)
        connection.pragma("schema_version")  # it sees the log: without it nothing would be moved
    except BaseException:
        connection.close()
        raise
    return connection


def _open(path: str, flags: int, vfs: str | None) -> apsw.Connection:
    """Nothing happens behind our back: no automatic checkpoints, no waiting for locks on the loop,
    no double-quoted strings, no functions called from the schema, no writes by a reader."""
    connection = apsw.Connection(path, flags, vfs, STATEMENTS_KEPT)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1)
        connection.set_busy_timeout(0)
        connection.wal_autocheckpoint(0)
        connection.pragma("temp_store", "MEMORY")
        connection.pragma("mmap_size", 0)  # an I/O error in mapped memory kills the process
    except BaseException:
        connection.close()
        raise
    return connection


class InUse(StorageFailed):
    """Another process owns the file: `owner`, its id."""

    def __init__(self, detail: str, owner: str) -> None:
        super().__init__(detail)
        self.owner = owner


class FileLock:
    """The right of one process to a database file: an flock on ``<file>.lock``, which ends with
    the process however it dies. The lock file stays; it holds the owner's process id."""

    def __init__(self, path: str) -> None:
        """Take the lock. Raises InUse when another storage has it, here or elsewhere."""
        number = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        self._file = os.fdopen(number, "r+b", buffering=0)  # closed when nobody has it any more
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = self._file.read(32).decode("ascii", "replace").strip() or "unknown"
            self._file.close()
            raise InUse(
                f"{path} is in use by process {owner}. One process owns a SQLite file: stop that "
                "one first, or give this one a file of its own.",
                owner,
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n".encode("ascii"))

    def release(self) -> None:
        """Let another process have the file; also when a fork still holds a copy of ours."""
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()
