# pyright: reportPrivateUsage=false
"""Plants: known bugs, put into a worker before it starts. Each must be found by the checks."""

import asyncio
import random
import time
from typing import Any, Final

from hansa.business.commerce import tables
from hansa.business.commerce.api import stock
from hansa.kernel import commands, deliveries, outbox
from hansa.kernel.compiler import param, update
from hansa.kernel.context import Context
from hansa.kernel.postgres import sequencer
from hansa.torture.planting import Plant, put

_s = tables.stock.c
_overwrite = (
    update(tables.stock)
    .where(_s.variant_id == param("variant"))
    .values(reserved=param("reserved", _s.reserved.type))
)
_seen: dict[str, tuple[float, int, int]] = {}
STALE_S: Final = 0.02
_SERIAL: Final = (
    'UPDATE hansa_events SET position = "row" WHERE position IS NULL AND $1::bigint >= 0'
)


def position_outside() -> None:
    """The subscriber's position moves in a transaction of its own, before the effects. What a kill
    between the two loses is seen for certain when there is some time between them."""
    whole = deliveries._deliver_batch

    async def planted(runtime: Any, subscription: Any, events: Any) -> None:
        run = await deliveries._run_for(runtime, subscription, events[0])
        last = events[-1]

        async def move(session: Any) -> None:
            await deliveries.move_cursor(
                session, subscription.name, last.slot, last.epoch, last.position
            )

        await commands.submit(runtime, run, move)
        await asyncio.sleep(random.uniform(0, 0.02))
        await whole(runtime, subscription, events)

    async def at_start(*_: Any) -> int:
        return 0

    put(deliveries, {"_deliver_batch": planted, "_position": at_start})


def serial_positions() -> None:
    """On PostgreSQL the position is the serial column, so in the order of insertion. Commits cross
    on any busy server; here what is written waits for its commit, so that a short run sees it."""
    whole = outbox._flush_postgres

    async def slow(session: Any, box: Any, stamp: Any) -> None:
        await whole(session, box, stamp)
        await session.fetch("SELECT 1 FROM pg_sleep(random() * 0.02)")

    put(outbox, {"_flush_postgres": slow})
    put(sequencer, {"_NUMBER": _SERIAL})


def read_before_write() -> None:
    """A reservation writes what it computed from a level that it read some time before."""

    async def planted(ctx: Context, variant: str, quantity: int) -> None:
        known = _seen.get(variant)
        if known is None or time.monotonic() - known[0] > STALE_S:
            level = await ctx.db.one(stock._level, stock.Level, variant=variant)
            known = _seen[variant] = (time.monotonic(), level.on_hand, level.reserved)
        _, on_hand, reserved = known
        if on_hand - reserved < quantity:
            raise stock.Shortage("There are too few.")
        await ctx.db.run(_overwrite, variant=variant, reserved=reserved + quantity)

    put(stock, {"_promise": planted})


PLANTS: Final[dict[str, Plant]] = {
    "position-outside": position_outside,
    "serial-positions": serial_positions,
    "read-before-write": read_before_write,
    "no-fsync": lambda: None,  # it is the cell's setting: see `run`
}
