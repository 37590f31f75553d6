"""A small service for tests of commands and of the log: counters, notes of what subscribers saw."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import INTERNAL, PUBLIC
from hansa.kernel.problems import Conflict
from hansa.kernel.service import Service
from hansa.kernel.structs import Event, Secret, Struct

ledger = Service("ledger", owner="kernel", package=__name__)

WRITE: Final = "ledger.counters:write"

counters = ledger.table(
    "counters", text("name", primary=True), integer("value"), checks=("value <= 1000",)
)
notes = ledger.table("notes", text("subscriber"), text("name"), integer("value"), prefix="note")
docs = ledger.table("docs", text("title", unique="site"), prefix="doc")

_step = upsert(
    counters, key=("name",), values={"name": param("name"), "value": param("by")},
    change={"value": counters.c.value + param("by")}, returning=(counters.c.value,),
)  # fmt: skip
_value = select(counters.c.value).where(counters.c.name == param("name"))
_by_ids = select(docs).where(docs.c.id.in_(param("ids", str))).order_by(docs.c.title)
_all_docs = select(docs).order_by(docs.c.title)

BACKOFF_S: Final = (1.0, 10.0)


class Stepped(Event, aggregate="name"):
    name: str
    value: int


class Step(Struct):
    name: str
    by: int = 1


class Value(Struct):
    name: str
    value: int


class Token(Struct):
    id: ID
    secret: Secret


class Doc(Struct):
    id: ID
    title: str


class Trouble:
    """What handlers do wrong, as the test says."""

    failing: set[str] = set()
    calls: list[str] = []
    refuse_prepare = False

    @classmethod
    def reset(cls) -> None:
        cls.failing = set()
        cls.calls = []
        cls.refuse_prepare = False


@ledger.command("POST /steps", needs=WRITE, serial_by=lambda body: body.name)
async def step(ctx: Context, body: Step) -> Value:
    Trouble.calls.append("step")
    value = await ctx.db.value(_step, int, name=body.name, by=body.by) or 0
    ctx.emit(Stepped(body.name, value))
    return Value(body.name, value)


@ledger.command("POST /hops", needs=WRITE)
async def hop(ctx: Context, body: Step) -> Value:
    """The same without a queue: conflicts are left to the engine."""
    return await step(ctx, body)


@ledger.command("POST /signatures", needs=PUBLIC)
async def sign(ctx: Context, body: Step) -> Value:
    """What visitors may do."""
    return await step(ctx, body)


@ledger.query("GET /long", needs=PUBLIC)
async def get_long(ctx: Context, letters: int) -> str:
    return "x" * letters


@ledger.command("POST /long", needs=WRITE)
async def make_long(ctx: Context, letters: int) -> str:
    await step(ctx, Step("long"))
    return "x" * letters


@ledger.command("POST /fussy", needs=WRITE)
async def fussy(ctx: Context, body: Step) -> Value:
    value = await step(ctx, body)
    if body.name in Trouble.failing:
        raise Conflict("not now")
    if f"!{body.name}" in Trouble.failing:
        raise RuntimeError("broken")
    return value


@ledger.command("POST /tokens", needs=WRITE)
async def make_token(ctx: Context) -> Token:
    return Token(ctx.new_id("tok"), Secret("swordfish"))


@ledger.command("POST /prepared", needs=WRITE)
async def prepared_step(ctx: Context, body: Step, prepared: int = 0) -> Value:
    return await step(ctx, Step(body.name, prepared))


@prepared_step.prepare
async def look_before(ctx: Context, body: Step) -> int:
    Trouble.calls.append("prepare")
    if Trouble.refuse_prepare:
        raise Conflict("gone")
    await asyncio.sleep(0)
    found = await ctx.call(get_value, name="base")
    return found.value + body.by


@ledger.query("GET /values/{name}", needs=PUBLIC)
async def get_value(ctx: Context, name: str) -> Value:
    return Value(name, await ctx.db.value(_value, int, name=name) or 0)


@ledger.query("GET /twice/{name}", needs=PUBLIC)
async def get_twice(ctx: Context, name: str) -> Value:
    found = await ctx.call(get_value, name=name)
    hidden = await ctx.call(get_hidden, name=name)
    return Value(name, found.value + hidden.value)


@ledger.query(needs=INTERNAL)
async def get_hidden(ctx: Context, name: str) -> Value:
    return await get_value(ctx, name)


@ledger.query("GET /wrong", needs=PUBLIC)
async def query_that_writes(ctx: Context) -> Value:
    ctx.emit(Stepped("x", 1))
    return Value("x", 1)


@ledger.query("GET /closed")
async def undeclared(ctx: Context) -> Value:
    return Value("x", 1)


@ledger.command("POST /platform", needs=WRITE, scope="platform")
async def of_platform(ctx: Context) -> Value:
    return Value(ctx.site, 1)


@ledger.command("POST /sleepy", needs=WRITE)
async def sleepy(ctx: Context, body: Step) -> Value:
    await step(ctx, body)
    if body.name == "future":
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(0)
    return Value(body.name, 0)


@ledger.command("POST /calling", needs=WRITE)
async def calling(ctx: Context) -> Value:
    return await ctx.call(get_value, name="x")


@ledger.command("POST /docs", needs="ledger.docs:create")
async def make_doc(ctx: Context, body: Doc) -> Doc:
    made = await ctx.db.insert(docs, into=Doc, title=body.title)
    await ctx.relate(ctx.principal.id, "ledger.docs:read", f"doc:{made.id}")
    return made


@ledger.query("GET /docs/{id}", needs=PUBLIC)
async def get_doc(ctx: Context, id: ID) -> Doc:
    await ctx.check("ledger.docs:read", f"doc:{id}")
    return (await ctx.db.all(_by_ids, Doc, ids=[id]))[0]


@ledger.query("GET /docs", needs=PUBLIC)
async def list_docs(ctx: Context) -> list[Doc]:
    allowed = await ctx.permitted("ledger.docs:read", "doc")
    if allowed is None:
        return await ctx.db.all(_all_docs, Doc)
    ids = [one.removeprefix("doc:") for one in allowed]
    return await ctx.db.all(_by_ids, Doc, ids=ids)


@ledger.command("POST /unrelate", needs="ledger.docs:create")
async def forget(ctx: Context, body: Doc) -> Doc:
    await ctx.unrelate(ctx.principal.id, "ledger.docs:read", f"doc:{body.id}")
    return body


@ledger.on(Stepped)
async def follow(ctx: Context, event: Stepped) -> None:
    await ctx.db.insert(notes, subscriber="follow", name=event.name, value=event.value)


@ledger.on(Stepped, backoff_s=BACKOFF_S)
async def stumble(ctx: Context, event: Stepped) -> None:
    Trouble.calls.append(f"stumble:{event.name}:{event.value}")
    await ctx.db.insert(notes, subscriber="stumble", name=event.name, value=event.value)
    if f"{event.name}:{event.value}" in Trouble.failing:
        raise RuntimeError(f"stumbled over {event.value}")


# ---- due work


class Plan(Struct):
    name: str
    after_s: float
    id: str = ""


@ledger.command("POST /plans", needs=WRITE)
async def plan(ctx: Context, body: Plan) -> Value:
    at = _later(ctx, body.after_s)
    ctx.schedule(ring, at=at, id=body.id or None, name=body.name)
    return Value(body.name, 0)


@ledger.command("POST /planned_steps", needs=WRITE)
async def plan_step(ctx: Context, body: Plan) -> Value:
    at = _later(ctx, body.after_s)
    ctx.schedule(step, at=at, id=body.id or None, body=Step(body.name))
    return Value(body.name, 0)


@ledger.command("POST /planned_for_the_platform", needs=WRITE)
async def plan_for_platform(ctx: Context) -> None:
    await step(ctx, Step("a"))
    ctx.schedule(of_platform, at=ctx.now)


@ledger.command("POST /planned_by_the_platform", needs=WRITE, scope="platform")
async def plan_by_platform(ctx: Context) -> None:
    ctx.schedule(of_platform, at=ctx.now)


@ledger.command("POST /cancels", needs=WRITE)
async def cancel(ctx: Context, body: Plan) -> Value:
    ctx.unschedule(body.id)
    return Value(body.name, 0)


@ledger.due("ledger.ring", backoff_s=BACKOFF_S)
async def ring(ctx: Context, name: str) -> None:
    Trouble.calls.append(f"ring:{name}")
    await step(ctx, Step(name))
    if name in Trouble.failing:
        raise RuntimeError(f"no ring for {name}")


def _later(ctx: Context, seconds: float) -> datetime:
    return ctx.now + timedelta(seconds=seconds)
