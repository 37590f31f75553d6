"""PostgreSQL as a cell's storage: serializable transactions, row security, many processes.

It needs PostgreSQL 14 or newer, reached directly: a pooler that shares connections between
transactions would lose the site that a session is set to.

What must never happen here:
- a statement under another site than the one it was asked for;
- a commit reported that PostgreSQL rolled back, or one retried whose outcome is unknown;
- a query that writes;
- a position given to an event before its transaction has committed.
"""

from hansa.kernel.postgres.storage import PostgresStorage

__all__ = ["PostgresStorage"]
