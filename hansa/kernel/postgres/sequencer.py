"""Sequencer: positions for committed events, in the order in which they became visible.

A serial column is not commit order: a transaction may take number 7 and commit after number 8 was
read. So events are inserted without a position. Whoever holds the cell's row then numbers those
that have committed; the counter moves in the same transaction, so of two at once the second waits
and finds the rest. Rows of one pass are in the order of their insertion, which keeps an effect
behind its cause: its transaction began after the cause had committed.
"""

from typing import Any, Final

BATCH: Final = 1_000

_ANY: Final = "SELECT EXISTS (SELECT 1 FROM hansa_events WHERE position IS NULL)"
_LOCK: Final = "SELECT position FROM hansa_cell WHERE cell = $1 FOR UPDATE"
_MAKE: Final = """INSERT INTO hansa_cell (cell, epoch, position) VALUES ($1, 1, 0)
ON CONFLICT DO NOTHING"""
# A statement of its own, after the lock: it sees all that any earlier holder has numbered.
_NUMBER: Final = f"""WITH numbered AS (
  SELECT "row", $1::bigint + row_number() OVER (ORDER BY "row") AS next FROM (
    SELECT "row" FROM hansa_events WHERE position IS NULL ORDER BY "row" LIMIT {BATCH}) AS waiting)
UPDATE hansa_events SET position = next FROM numbered WHERE hansa_events."row" = numbered."row"
"""
_MOVE: Final = "UPDATE hansa_cell SET position = $2 WHERE cell = $1"


async def assign_positions(connection: Any, cell: str) -> int:
    """Give the next positions to all events that wait for one; return how many."""
    total = 0
    while await connection.fetchval(_ANY):
        count = await _one_pass(connection, cell)
        total += count
        if count < BATCH:
            break
    return total


async def _one_pass(connection: Any, cell: str) -> int:
    async with connection.transaction(isolation="read_committed"):
        position = await connection.fetchval(_LOCK, cell)
        if position is None:
            await connection.execute(_MAKE, cell)
            position = await connection.fetchval(_LOCK, cell)
        tag: str = await connection.execute(_NUMBER, position)
        count = int(tag.rpartition(" ")[2])
        await connection.execute(_MOVE, cell, position + count)
    return count
