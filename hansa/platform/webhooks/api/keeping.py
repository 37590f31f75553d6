"""Keeping: messages, deliveries and attempts go after thirty days, in small transactions."""

from datetime import timedelta
from typing import Any

from hansa.kernel.compiler import delete, param, select
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.platform.webhooks import tables
from hansa.platform.webhooks import webhooks as service

KEPT = timedelta(days=30)
"""As long as the log itself keeps its events. What an endpoint did not take by then is gone."""
BATCH = 200

_m, _d, _a = tables.messages.c, tables.deliveries.c, tables.attempts.c
_old = select(_m.number).where(_m["at"] < param("before")).order_by(_m["at"]).limit(BATCH)
_numbered: list[Any] = [
    delete(tables.attempts).where(_a.number.in_(param("numbers"))),
    delete(tables.deliveries).where(_d.number.in_(param("numbers"))),
    delete(tables.messages).where(_m.number.in_(param("numbers"))),
]
_of_endpoint = select(_d.number).where(_d.endpoint_id == param("endpoint")).limit(BATCH)
_theirs: list[Any] = [
    delete(tables.attempts).where(
        _a.endpoint_id == param("endpoint"), _a.number.in_(param("numbers"))
    ),
    delete(tables.deliveries).where(
        _d.endpoint_id == param("endpoint"), _d.number.in_(param("numbers"))
    ),
]


@service.every("17 3 * * *", spread_s=3600)
async def forget_old(ctx: Context) -> None:
    """Begin to take away what is older than thirty days."""
    ctx.schedule(forget, at=ctx.now, id="forget")


@service.due("webhooks.forget")
async def forget(ctx: Context) -> None:
    """Take one batch away, and come back for the next."""
    numbers = await ctx.db.all(_old, int, before=ctx.now - KEPT)
    for statement in _numbered if numbers else ():
        await ctx.db.run(statement, numbers=numbers)
    if len(numbers) == BATCH:
        ctx.schedule(forget, at=ctx.now, id="forget")


@service.due("webhooks.purge_endpoint")
async def purge_endpoint(ctx: Context, endpoint: ID) -> None:
    """Take away what was kept for an endpoint that was removed, then its row."""
    numbers = await ctx.db.all(_of_endpoint, int, endpoint=endpoint)
    for statement in _theirs if numbers else ():
        await ctx.db.run(statement, endpoint=endpoint, numbers=numbers)
    if len(numbers) == BATCH:
        ctx.schedule(purge_endpoint, at=ctx.now, id=f"purge:{endpoint}", endpoint=endpoint)
    else:
        await ctx.db.delete(tables.endpoints, endpoint)
