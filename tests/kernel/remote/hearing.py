"""A service that hears what another one tells, and asks it."""

import asyncio

from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import param, upsert
from hansa.kernel.context import Context
from hansa.kernel.operation import PUBLIC
from hansa.kernel.service import Service
from tests.kernel.remote.telling import Count, Told, get_locked, get_told, publish, whisper

hearer = Service("hearer", owner="kernel", package=__name__)

heard = hearer.table("heard", integer("number"), text("name"), integer("count"), prefix="heard")
sums = hearer.table("sums", text("name", primary=True), integer("count"))

asking, go_on = asyncio.Event(), asyncio.Event()
"""That `ask` for "later" has begun, and that it may go on."""

_hear = upsert(
    sums, key=("name",), values={"name": param("name"), "count": 1},
    change={"count": sums.c.count + 1}, returning=(sums.c.count,),
)  # fmt: skip


@hearer.on(Told)
async def hear(ctx: Context, event: Told) -> None:
    number = await ctx.db.value(_hear, int, name=event.name) or 0
    await ctx.db.insert(heard, number=number, name=event.name, count=event.count)


@hearer.query("GET /asked/{name}", needs=PUBLIC)
async def ask(ctx: Context, name: str) -> Count:
    if name == "later":
        asking.set()
        await go_on.wait()
    return await ctx.call(get_told, name=name)


@hearer.query("GET /whispers/{name}", needs=PUBLIC)
async def ask_inside(ctx: Context, name: str) -> str:
    return str((await ctx.call(whisper, name=name)).secret)


@hearer.query("GET /unlocked", needs=PUBLIC)
async def ask_locked(ctx: Context) -> str:
    return await ctx.call(get_locked)


@hearer.due("hearer.note")
async def note(ctx: Context, name: str) -> None:
    await ctx.db.insert(heard, number=0, name=name, count=0)


@hearer.command("POST /plan", needs=PUBLIC)
async def plan(ctx: Context, name: str) -> None:
    ctx.schedule(note, at=ctx.now, name=name)


@hearer.command("POST /plan-telling", needs=PUBLIC)
async def plan_telling(ctx: Context, name: str) -> None:
    ctx.schedule(publish, at=ctx.now, name=name)
