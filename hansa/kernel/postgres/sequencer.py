"""Sequencer: positions for committed events, in the order in which they became visible.

A serial column is not commit order: a transaction may take number 7 and commit after number 8 was
read. So events are inserted without a position. Whoever holds the cell's row then numbers those
that have committed; the counter moves in the same transaction, so of two at once the second waits
and finds the rest. Rows of one pass are in the order of their insertion, which keeps an effect
behind its cause: its transaction began after the cause had committed.
"""

import time
from typing import Final

from hansa.kernel.postgres.link import PASS_S, Link, left

BATCH: Final = 1_000

_ANY: Final = "SELECT EXISTS (SELECT 1 FROM hansa_events WHERE position IS NULL)"
# Each statement sees what has committed before it. The server lets go of the row if this process is
# cut off while it holds it.
_BEGIN: Final = """BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL idle_in_transaction_session_timeout = '10s'"""
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


async def assign_positions(link: Link, cell: str) -> int:
    """Give the next positions to all events that wait for one; return how many.

    Readers that see a position see all below it: it became visible with them, or after them.
    Raises the driver's errors; then the connection may be left inside of a transaction.
    """
    total = 0
    while (await link.rows(_ANY, (), PASS_S))[0][0]:
        count = await _one_pass(link, cell)
        total += count
        if count < BATCH:
            break
    return total


async def _one_pass(link: Link, cell: str) -> int:
    deadline = time.monotonic() + PASS_S
    await link.script(_BEGIN, left(deadline))
    found = await link.rows(_LOCK, (cell,), left(deadline))
    if not found:
        await link.count(_MAKE, (cell,), left(deadline))
        found = await link.rows(_LOCK, (cell,), left(deadline))
    position: int = found[0][0]
    count = await link.count(_NUMBER, (position,), left(deadline))
    await link.count(_MOVE, (cell, position + count), left(deadline))
    await link.script("COMMIT", left(deadline))
    return count
