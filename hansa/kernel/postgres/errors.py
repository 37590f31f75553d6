"""Errors: what PostgreSQL and its driver say, in the kernel's words.

The codes are those of appendix A of PostgreSQL's manual.
"""

import asyncio
from typing import Final, Literal

import asyncpg

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

_KINDS: Final[dict[str, Kind]] = {
    "23505": "unique",
    "23P01": "unique",  # EXCLUDE
    "23503": "foreign",
    "23001": "foreign",  # RESTRICT
    "23514": "check",
    "23502": "null",
}
_CONFLICTS: Final = frozenset({"40001", "40P01"})
_LOST: Final = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "53300"})
_NOT_KEPT: Final = frozenset({"22001", "22003", "22021", "22P05"})
_CROWDED: Final = frozenset({"53200", "53400", "55P03"})
_BROKEN: Final = frozenset({"58030", "58P01", "XX001", "XX002"})
_REFUSED: Final = ("28", "3D", "42501")
"""What waiting does not cure: a wrong password, no such database, no right to connect."""
_READ_ONLY: Final = "25006"


class Lost(Exception):
    """There is no connection to PostgreSQL, or no longer. Another one may do."""


def code_of(error: BaseException) -> str:
    """Return the SQLSTATE of an error, nothing where it has none."""
    return str(getattr(error, "sqlstate", "") or "")


def is_late(error: BaseException) -> bool:
    """Tell whether a statement was broken off: its cancelling may still be under way."""
    return isinstance(error, TimeoutError | asyncio.TimeoutError)


def is_conflict(error: BaseException) -> bool:
    """Tell whether a transaction may begin anew at once: it lost against another one, or the
    schema changed under a statement that was planned before."""
    if code_of(error) in _CONFLICTS:
        return True
    return isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError)


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection is gone, so that nothing more can be known through it."""
    code = code_of(error)
    if code in _LOST or code.startswith("08"):
        return True
    if isinstance(error, asyncpg.InterfaceError):  # most of these are mistakes of the caller
        return "closed" in str(error)
    if isinstance(error, asyncpg.InternalClientError):
        # Also what the driver says of a connection that was closed while nobody used it.
        return not isinstance(error, asyncpg.OutdatedSchemaCacheError)
    if isinstance(error, Lost):
        return True
    return isinstance(error, OSError) and not is_late(error)


def is_demoted(error: BaseException) -> bool:
    """Tell whether a write met a server that has become a replica meanwhile."""
    return code_of(error) == _READ_ONLY


def is_refused(error: BaseException) -> bool:
    """Tell whether connecting failed for good: the name, the password or the database is wrong."""
    return code_of(error).startswith(_REFUSED) or isinstance(
        error, asyncpg.ClientConfigurationError
    )


def translate(error: BaseException) -> BaseException:
    """Return the kernel's error for one of PostgreSQL; any other as it is.

    A mistake in the program (no such column, a wrong type) stays what it is.
    """
    code = code_of(error)
    if code in _KINDS:
        name = getattr(error, "constraint_name", None) or getattr(error, "column_name", None)
        return ConstraintFailed(_KINDS[code], str(name or ""))
    if code == "53100":
        return StorageFull("The disk of this cell is full; free some space, then try again.")
    if code == "57014" or is_late(error):
        return late()
    if code in _NOT_KEPT or _is_bad_value(error):
        return Invalid("A value is outside of what the database can keep: a number beyond 64 bits,"
                       " or text with a NUL or half a surrogate pair.")  # fmt: skip
    if code == "54000":
        return TooLarge("A value is larger than an index can keep (about 2,700 bytes).")
    if code in _CROWDED:
        return Overloaded("The database of this cell is over its limits.", retry_after_s=1)
    if code in _BROKEN:
        return StorageFailed(f"The database of this cell could not be used: {error}.")
    if is_lost(error):
        return StorageFailed("The connection to PostgreSQL was lost.")
    return error


def late() -> DeadlineExceeded:
    """Return the refusal of work whose time is over."""
    return DeadlineExceeded("The time given to this request is over; nothing was changed.")


def _is_bad_value(error: BaseException) -> bool:
    """Tell whether the driver refused a value that is of the right type, but cannot be sent."""
    return isinstance(error, asyncpg.DataError) and isinstance(
        error.__cause__, OverflowError | UnicodeEncodeError
    )
