"""Backlog: what stands in a cell and should not, counted for who scrapes.

The counts are of the cell, so all of its processes tell the same. What must never happen here: a
count that costs more the more there is, or a scraper that waits for a database that is away.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hansa.kernel import machine
from hansa.kernel.commands import deadline_in
from hansa.kernel.relations import sql
from hansa.kernel.storage import PLATFORM, Session

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

logger = logging.getLogger("hansa.observe")

EVERY_S: Final = 5.0
"""However often somebody scrapes, the rows are looked at no more often."""
WAIT_S: Final = 1.0
LATE_S: Final = 10
"""Due work is late that could have begun so long ago."""
COUNT_MAX: Final = 10_000
"""More than so many are not counted."""

# Each reads so many entries of the index on (state, ready_at_us) at most.
_LATE: Final = "FROM hansa_due WHERE state = 'waiting' AND ready_at_us <= ?1"
_COUNTS: Final = f"""SELECT
(SELECT count(*) FROM (
  SELECT 1 FROM hansa_deliveries WHERE state = 'parked' LIMIT {COUNT_MAX}) AS parked),
(SELECT count(*) FROM (
  SELECT 1 FROM hansa_deliveries WHERE state = 'waiting' LIMIT {COUNT_MAX}) AS waiting),
(SELECT count(*) FROM (
  SELECT 1 FROM hansa_due WHERE state = 'parked' LIMIT {COUNT_MAX}) AS given_up),
(SELECT count(*) FROM (SELECT 1 {_LATE} LIMIT {COUNT_MAX}) AS late),
coalesce((SELECT ready_at_us {_LATE} ORDER BY ready_at_us LIMIT 1), 0)"""


@dataclass(frozen=True, slots=True)
class Counts:
    """What stands: deliveries that were given up and those that wait for another try, due work that
    was given up and that is late, and by how long the latest."""

    parked: int
    waiting: int
    due_parked: int
    due_late: int
    due_late_s: float


class Backlog:
    """Looks at the rows of a cell, now and then. Its methods belong to the loop."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._counts: Counts | None = None
        self._until = 0.0
        self._looking = asyncio.Lock()

    async def counts(self) -> Counts | None:
        """Return what stands, as of some seconds ago at most; None while that cannot be read."""
        async with self._looking:
            if machine.monotonic() >= self._until:
                self._counts = await self._look()
                self._until = machine.monotonic() + EVERY_S
        return self._counts

    async def _look(self) -> Counts | None:
        now_us = self._runtime.clock.now_us()
        late_us = now_us - LATE_S * 1_000_000

        async def body(session: Session) -> Counts:
            found = await session.fetch(sql(session, _COUNTS), (late_us,))
            parked, waiting, due_parked, due_late, first_us = found[0]
            late_s = (now_us - first_us) / 1_000_000 if due_late else 0.0
            return Counts(parked, waiting, due_parked, due_late, late_s)

        try:
            return await self._runtime.storage.read(
                body, site=PLATFORM, deadline=deadline_in(WAIT_S), across=True, shape="backlog"
            )
        except Exception as error:
            logger.warning("what stands in the cell cannot be counted: %s", error)
            return None
