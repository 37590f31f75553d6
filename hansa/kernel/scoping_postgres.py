# pyright: reportPrivateUsage=false
"""Scoping on PostgreSQL, which a process on SQLite never imports (see `scoping`)."""

from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg, PGDialect_asyncpg

from hansa.kernel.scoping import Portable, Scoped, made_dialect


class _Open(Portable, PGCompiler_asyncpg):
    """PostgreSQL, across all sites."""

    find_function = "strpos"
    list_shapes = (  # over an array: `bound` ends in a cast to the element's type
        "{left} = ANY ({bound}[])",
        "{left} <> ALL ({bound}[])",
    )


class _Scoped(Scoped, _Open):
    """PostgreSQL, kept to the site."""


def dialect(*, scoped: bool) -> Any:
    """Return SQLAlchemy's dialect of PostgreSQL, kept to the site or across sites."""
    return made_dialect(PGDialect_asyncpg, _Scoped if scoped else _Open)
