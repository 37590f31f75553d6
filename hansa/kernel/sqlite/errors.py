"""SQLite's errors as the kernel's: refusals by constraints, a full or failing disk, lateness."""

from typing import Final, Literal

import apsw

from hansa.kernel.problems import (
    DeadlineExceeded,
    Invalid,
    Overloaded,
    StorageFailed,
    StorageFull,
    TooLarge,
)
from hansa.kernel.storage import ConstraintFailed

Kind = Literal["unique", "foreign", "check", "null"]

_KINDS: Final[dict[int, Kind]] = {
    apsw.SQLITE_CONSTRAINT_UNIQUE: "unique",
    apsw.SQLITE_CONSTRAINT_PRIMARYKEY: "unique",
    apsw.SQLITE_CONSTRAINT_ROWID: "unique",
    apsw.SQLITE_CONSTRAINT_FOREIGNKEY: "foreign",
    apsw.SQLITE_CONSTRAINT_NOTNULL: "null",
}

_FAILURES: Final = (
    apsw.IOError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.CantOpenError,
    apsw.NoMemError,
    apsw.ProtocolError,
    apsw.PermissionsError,
)


def translate(error: BaseException) -> BaseException:
    """Return what the kernel says for an error of the engine; any other error is itself.

    A constraint's name is what SQLite names: ``"products.site, products.handle"`` for unique
    columns, the name or text of a CHECK, nothing for a foreign key. An SQL error (no such table, a
    syntax error, a query that writes) stays what it is: a mistake in the program.
    """
    if isinstance(error, apsw.ConstraintError):
        kind: Kind = _KINDS.get(getattr(error, "extendedresult", 0), "check")
        return ConstraintFailed(kind, _constraint(str(error)))
    if isinstance(error, apsw.FullError):
        return StorageFull("The disk of this cell is full; free some space, then try again.")
    if isinstance(error, _FAILURES):
        return StorageFailed(f"The database of this cell could not be used: {error}.")
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return Overloaded(
            "Another program holds the lock of this cell's database.", retry_after_s=1
        )
    if isinstance(error, apsw.InterruptError):
        return late()
    if isinstance(error, apsw.TooBigError):
        return TooLarge("A value is larger than the database can keep (1 GB).")
    if isinstance(error, OverflowError):
        return Invalid("A whole number is outside of what the database can keep (64 bits).")
    return error


def late() -> DeadlineExceeded:
    """Return the refusal of work whose time is over."""
    return DeadlineExceeded("The time given to this request is over; nothing was changed.")


def _constraint(message: str) -> str:
    """Return what stands behind ``... constraint failed: ``, bare of ``index '...'``."""
    _, found, name = message.partition("constraint failed: ")
    if not found:
        return ""
    if name.startswith("index '") and name.endswith("'"):
        return name[7:-1]
    return name
