"""Pruning: what is kept for a time only, taken away in small transactions.

Answers of keys after seven days; settled attempts, receipts, skipped deliveries and events after
thirty. An event goes only when every subscriber is past it that a process has had in those days, no
delivery of it is open, and its aggregate's sequence is kept elsewhere; that of a copy of another
cell's event is noted as it goes (see `watermarks`). What must never happen here: anything that
could still be asked for by the promise.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from hansa.kernel import watermarks
from hansa.kernel.commands import deadline_in
from hansa.kernel.idempotency import KEPT_S
from hansa.kernel.relations import sql
from hansa.kernel.residence import NOT_AWAY
from hansa.kernel.storage import PLATFORM, Session

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

logger = logging.getLogger("hansa.pruning")

EVERY_S: Final = 600.0
BATCH: Final = 500
LOG_KEPT_S: Final = 30 * 86_400

_RULES: Final = {
    "hansa_keys": (KEPT_S, "created_at_us", "site, digest", "created_at_us < ?1 AND status <> 0"),
    "hansa_attempts": (
        LOG_KEPT_S,
        "created_at_us",
        "site, id",
        "created_at_us < ?1 AND status <> 0",
    ),
    "hansa_receipts": (LOG_KEPT_S, "at_us", "site, subscriber, event", "at_us < ?1"),
    "hansa_deliveries": (
        LOG_KEPT_S,
        "ready_at_us",
        "subscriber, event",
        "state = 'skipped' AND ready_at_us < ?1",
    ),
}
# Of a site that is being copied to another cell nothing goes: what is noted of it may be there.
_OLD_EVENTS: Final = f"""SELECT position FROM hansa_events WHERE position < ?1
AND NOT EXISTS (SELECT 1 FROM hansa_deliveries d
  WHERE d.position = hansa_events.position AND d.state <> 'skipped')
{NOT_AWAY.format(table="hansa_events")} ORDER BY position LIMIT {BATCH}"""
_EVENTS: Final = f"DELETE FROM hansa_events WHERE position IN ({_OLD_EVENTS})"
_FLOOR: Final = """SELECT min(floor) FROM hansa_subscribers WHERE seen_at_us >= ?1"""
_ENDS: Final = "SELECT min(position), max(position) FROM hansa_events"
_AT: Final = """SELECT position, recorded_at_us FROM hansa_events WHERE position >= ?1
ORDER BY position LIMIT 1"""


def statement(table: str) -> str:
    """Return the SQL that takes one batch of a table's old rows away."""
    _, order, key, old = _RULES[table]
    where = f"({key})" if "," in key else key
    return (
        f"DELETE FROM {table} WHERE {where} IN"
        f" (SELECT {key} FROM {table} WHERE {old} ORDER BY {order} LIMIT {BATCH})"
    )


class Pruner:
    """The loop that prunes; any process of a cell may run it, and several do no harm."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, with the first round after one interval."""
        self._task = asyncio.create_task(self._follow(), name="hansa-pruning")

    async def stop(self) -> None:
        """Stop; a batch under way is either done or not."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.prune()
            except Exception:
                logger.exception("pruning failed; it goes on later")

    async def prune(self) -> dict[str, int]:
        """Take away all that is old enough now; return how many rows of which table."""
        await self._runtime.dispatcher.announce()
        now_us = self._runtime.clock.now_us()
        gone = {
            table: await self._batches(statement(table), now_us - kept_s * 1_000_000)
            for table, (kept_s, _, _, _) in _RULES.items()
        }
        cut = await self._cut(now_us - LOG_KEPT_S * 1_000_000)
        return gone | {"hansa_events": await self._batches(_EVENTS, cut, _OLD_EVENTS)}

    async def _cut(self, before_us: int) -> int:
        """Return the position that the log may begin at. Its instants rise with its positions, but
        for the order of commits, so it is searched by halves: no index for them on each write."""

        async def body(session: Session) -> int:
            low, high = (await session.fetch(_ENDS))[0]
            if low is None:
                return 0
            high += 1
            while low < high:
                position, at_us = (await session.fetch(sql(session, _AT), ((low + high) // 2,)))[0]
                low, high = (position + 1, high) if at_us < before_us else (low, (low + high) // 2)
            floor = (await session.fetch(sql(session, _FLOOR), (before_us,)))[0][0]
            return int(low if floor is None else min(low, floor + 1))

        return await self._runtime.storage.read(
            body, site=PLATFORM, deadline=deadline_in(30), across=True
        )

    async def _batches(self, text: str, bound: int, events: str = "") -> int:
        gone = 0
        while (count := await self._batch(text, bound, events)) == BATCH:
            gone += count
        return gone + count

    async def _batch(self, text: str, bound: int, events: str) -> int:
        async def body(session: Session) -> int:
            if events:
                await watermarks.note(session, events, bound)
            return await session.run(sql(session, text), (bound,))

        committed = await self._runtime.storage.write(
            body, site=PLATFORM, deadline=deadline_in(30), across=True
        )
        return committed.value
