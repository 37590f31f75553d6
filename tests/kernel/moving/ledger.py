"""A service that is in two cells, whose sites move between them, and one at home that listens."""

from datetime import timedelta

from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.operation import PUBLIC
from hansa.kernel.service import Service
from hansa.kernel.structs import Event, Struct

book = Service("book", owner="kernel", package=__name__)
archive = Service("archive", owner="kernel", package="tests.kernel.moving.archive")

sums = book.table("sums", text("name", primary=True), integer("count"))
heard = book.table("heard", integer("number"), text("name"), integer("count"), prefix="heard")
noted = book.table("noted", text("name"), integer("count"), prefix="noted")
filed = archive.table("filed", text("name"), integer("count"), prefix="filed")
hearings = book.table("hearings", text("name", primary=True), integer("count"))

_post = upsert(
    sums, key=("name",), values={"name": param("name"), "count": 1},
    change={"count": sums.c.count + 1}, returning=(sums.c.count,),
)  # fmt: skip
_hear = upsert(
    hearings, key=("name",), values={"name": param("name"), "count": 1},
    change={"count": hearings.c.count + 1}, returning=(hearings.c.count,),
)  # fmt: skip
_sum = select(sums.c.count).where(sums.c.name == param("name"))


class Posted(Event, aggregate="name"):
    name: str
    count: int


class Sum(Struct):
    name: str
    count: int


@book.command("POST /post", needs=PUBLIC)
async def post(ctx: Context, name: str) -> Sum:
    count = await ctx.db.value(_post, int, name=name) or 0
    ctx.emit(Posted(name, count))
    ctx.schedule(note, at=ctx.now + timedelta(milliseconds=count % 7), name=name, count=count)
    return Sum(name, count)


@book.query("GET /sums/{name}", needs=PUBLIC)
async def get_sum(ctx: Context, name: str) -> Sum:
    return Sum(name, await ctx.db.value(_sum, int, name=name) or 0)


@book.due("book.note")
async def note(ctx: Context, name: str, count: int) -> None:
    await ctx.db.insert(noted, name=name, count=count)


@book.on(Posted)
async def hear(ctx: Context, event: Posted) -> None:
    number = await ctx.db.value(_hear, int, name=event.name) or 0
    await ctx.db.insert(heard, number=number, name=event.name, count=event.count)


@archive.on(Posted)
async def file(ctx: Context, event: Posted) -> None:
    await ctx.db.insert(filed, name=event.name, count=event.count)
