"""A service that tells."""

from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.operation import INTERNAL, PUBLIC
from hansa.kernel.problems import Conflict, Fault, NotFound, Unprocessable
from hansa.kernel.service import Service
from hansa.kernel.structs import Event, Secret, Struct

teller = Service("teller", owner="kernel", package=__name__)

told = teller.table("told", text("name", primary=True), integer("count"))
_tell = upsert(
    told, key=("name",), values={"name": param("name"), "count": 1},
    change={"count": told.c.count + 1}, returning=(told.c.count,),
)  # fmt: skip
_told = select(told.c.count).where(told.c.name == param("name"))


class Told(Event, aggregate="name"):
    name: str
    count: int


class Whispered(Event, aggregate="name"):
    name: str


class Count(Struct):
    name: str
    count: int


class Secrets(Struct):
    secret: Secret


@teller.command("POST /tell", needs="teller.all:write", status=201)
async def tell(ctx: Context, name: str) -> Count:
    count = await ctx.db.value(_tell, int, name=name) or 0
    ctx.emit(Told(name, count))
    ctx.emit(Whispered(name))
    return Count(name, count)


@teller.command("POST /publish", needs=PUBLIC)
async def publish(ctx: Context, name: str) -> Count:
    return await tell(ctx, name)


@teller.query("GET /told/{name}", needs=PUBLIC)
async def get_told(ctx: Context, name: str) -> Count:
    if name == "nobody":
        raise NotFound("Nobody was told.", slug="nobody-told")
    if name == "odd":
        raise Unprocessable("Odd.", errors=(Fault("/name", "odd"),))
    if name == "broken":
        raise RuntimeError("a secret of the inside")
    return Count(name, await ctx.db.value(_told, int, name=name) or 0)


@teller.query(needs=INTERNAL)
async def whisper(ctx: Context, name: str) -> Secrets:
    return Secrets(Secret(f"{ctx.principal.id} on {ctx.site} asks for {name}"))


@teller.query("GET /locked", needs="teller.all:read")
async def get_locked(ctx: Context) -> str:
    return "open"


@teller.command("POST /refuse", needs=PUBLIC)
async def refuse(ctx: Context) -> None:
    raise Conflict("No.", slug="refused", price=7)
