"""Errors: what PostgreSQL says, in the kernel's words."""

import asyncio
from typing import Any

import asyncpg

from hansa.kernel.problems import DeadlineExceeded, StorageFailed, StorageFull
from hansa.kernel.storage import ConstraintFailed

_KINDS: dict[str, Any] = {"23505": "unique", "23503": "foreign", "23514": "check", "23502": "null"}
_CONFLICTS = ("40001", "40P01")
_LOST = ("57P01", "57P02", "57P03", "08000", "08001", "08003", "08006")


def code_of(error: BaseException) -> str:
    """Return the SQLSTATE of an error, nothing where it has none."""
    return str(getattr(error, "sqlstate", "") or "")


def is_conflict(error: BaseException) -> bool:
    """Tell whether a transaction lost against another one, and may begin anew."""
    return code_of(error) in _CONFLICTS


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection is gone, so that nothing more can be known through it."""
    if code_of(error) in _LOST:
        return True
    return isinstance(
        error,
        (asyncpg.InterfaceError, asyncpg.ConnectionDoesNotExistError, ConnectionError, OSError),
    ) and not isinstance(error, (TimeoutError, asyncio.TimeoutError))


def translate(error: BaseException) -> BaseException:
    """Return the kernel's error for one of PostgreSQL; any other as it is."""
    code = code_of(error)
    if code in _KINDS:
        name = str(getattr(error, "constraint_name", "") or getattr(error, "column_name", "") or "")
        return ConstraintFailed(_KINDS[code], name)
    if code == "53100":
        return StorageFull("PostgreSQL's disk is full; nothing was kept.")
    if code == "57014" or isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return DeadlineExceeded("The database took longer than the request's deadline.")
    if is_lost(error):
        return StorageFailed("The connection to PostgreSQL was lost.")
    return error
