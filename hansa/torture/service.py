"""Torture's own service: counters whose every step has effect once, in order, at its time.

Owned by the kernel team. What must never happen here: a handler that hides what it was handed.
"""

from datetime import timedelta
from typing import Final

from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.service import Service
from hansa.kernel.structs import Event, Struct

torture = Service("torture", owner="kernel", package=__name__)

NEEDS: Final = "torture.all:write"

counters = torture.table("counters", text("name", primary=True), integer("value"))
marks = torture.table(
    "marks",
    text("subscriber", primary=True),
    text("name", primary=True),
    integer("last"),
    integer("count"),
    integer("breaks"),
)
rings = torture.table("rings", text("name", primary=True), integer("count"), integer("at_us"))
days = torture.table("days", text("day", primary=True), integer("count"))
planned = torture.table("planned", text("name", primary=True))

_c, _m, _r, _d = counters.c, marks.c, rings.c, days.c
_step = upsert(
    counters, key=("name",), values={"name": param("name"), "value": 1},
    change={"value": _c.value + 1}, returning=(_c.value,),
)  # fmt: skip
_mark = select(marks).where(_m.subscriber == param("subscriber"), _m.name == param("name"))
_set_mark = upsert(
    marks, key=("subscriber", "name"),
    values={
        "subscriber": param("subscriber"), "name": param("name"), "last": param("last"),
        "count": 1, "breaks": param("breaks"),
    },
    change={"last": param("last"), "count": _m.count + 1, "breaks": _m.breaks + param("breaks")},
)  # fmt: skip
_ring = upsert(
    rings, key=("name",),
    values={"name": param("name"), "count": 1, "at_us": param("at_us")},
    change={"count": _r.count + 1},
)  # fmt: skip
_day = upsert(
    days, key=("day",), values={"day": param("day"), "count": 1}, change={"count": _d.count + 1}
)


class Stepped(Event, aggregate="name"):
    """A counter has come to `value`."""

    name: str
    value: int


class Step(Struct):
    """Which counter is to go on by one."""

    name: str


class Value(Struct):
    """A counter and where it stands."""

    name: str
    value: int


class Plan(Struct):
    """What is to ring once, so many milliseconds from now."""

    name: str
    after_ms: int


class _Mark(Struct):
    last: int
    count: int


def _by_name(body: Step) -> str:
    return body.name


@torture.command("POST /steps", needs=NEEDS, serial_by=_by_name)
async def step(ctx: Context, body: Step) -> Value:
    """Move a counter on by one and say so."""
    value = await ctx.db.value(_step, int, name=body.name) or 0
    ctx.emit(Stepped(body.name, value))
    return Value(body.name, value)


@torture.command("POST /plans", needs=NEEDS)
async def plan(ctx: Context, body: Plan) -> Step:
    """Have something ring once."""
    await ctx.db.insert(planned, name=body.name)
    at = ctx.now + timedelta(milliseconds=body.after_ms)
    ctx.schedule(ring, at=at, name=body.name)
    return Step(body.name)


@torture.due("torture.ring")
async def ring(ctx: Context, name: ID) -> None:
    """Ring; twice would show."""
    await ctx.db.run(_ring, name=name, at_us=ctx.now_us)


@torture.on(Stepped)
async def follow(ctx: Context, event: Stepped) -> None:
    """Note each step, and whether it came right behind the one before."""
    await _note(ctx, "follow", event)


@torture.on(Stepped, backoff_s=(0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0))
async def stumble(ctx: Context, event: Stepped) -> None:
    """The same, but now and then it fails first, by chance."""
    await _note(ctx, "stumble", event)
    if ctx.new_id("dice")[-1] in "0":
        raise RuntimeError("stumbled")


async def _note(ctx: Context, subscriber: str, event: Stepped) -> None:
    before = await ctx.db.first(_mark, _Mark, subscriber=subscriber, name=event.name)
    expected = (before.last if before else 0) + 1
    await ctx.db.run(
        _set_mark, subscriber=subscriber, name=event.name, last=event.value,
        breaks=int(event.value != expected),
    )  # fmt: skip


@torture.every("0 3 * * *")
async def daily(ctx: Context) -> None:
    """Count each day once, on the sites whose clock is moved."""
    await ctx.db.run(_day, day=ctx.due_at.date().isoformat())
