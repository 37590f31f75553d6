"""Who passes events on hears all of a site and nothing of others; a slow world holds up nobody."""

import asyncio

from hansa.kernel.actions import Done, World
from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import select
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.log import LogEvent
from hansa.kernel.service import Service
from hansa.kernel.storage import Storage
from hansa.kernel.structs import Event, Struct
from tests.kernel.cells import OTHER, OWNER, REAL, TestCell, key_of, opened, runtime_on

herald = Service("herald", owner="kernel", package=__name__)
NEEDS = "herald.all:write"

listeners = herald.table("listeners", text("name", primary=True))
heard = herald.table("heard", text("type"), text("object"), integer("sequence"), prefix="heard")
_heard = select(heard.c.type, heard.c.object, heard.c.sequence).order_by(heard.c.id)


class Listened(Event, aggregate="name"):
    name: ID


class Said(Event, aggregate="by"):
    by: ID
    number: int


class Asked(Struct):
    name: str


class Line(Struct):
    type: str
    object: str
    sequence: int


@herald.command(needs=NEEDS)
async def listen(ctx: Context, name: str) -> None:
    await ctx.db.insert(listeners, name=name)
    ctx.emit(Listened(name))


@herald.command(needs=NEEDS)
async def say(ctx: Context, by: str, times: int) -> None:
    for number in range(times):
        ctx.emit(Said(by, number))


@herald.query(needs=NEEDS)
async def lines(ctx: Context) -> list[Line]:
    return await ctx.db.all(_heard, Line)


@herald.on_all(listeners, opened_by=Listened)
async def hear(ctx: Context, event: LogEvent) -> None:
    await ctx.db.insert(heard, type=event.type, object=event.aggregate, sequence=event.seq)


class Gate:
    """The world: it answers when it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.asked = 0


@herald.action(needs=NEEDS, request=Asked, outcome=Asked)
async def ask(ctx: Context, name: str) -> Asked | Done[None]:
    return Asked(name)


@ask.outside
async def wait_for_world(world: World, request: Asked) -> Asked:
    gate = world.get(Gate)
    gate.asked += 1
    await gate.open.wait()
    return request


@ask.settle
async def settle_ask(ctx: Context, request: Asked, outcome: Asked) -> None:
    ctx.emit(Said(outcome.name, 0))


@herald.due("herald.note")
async def note(ctx: Context, name: str) -> None:
    await ctx.db.insert(heard, type="noted", object=name, sequence=0)


@herald.command(needs=NEEDS)
async def plan(ctx: Context, asks: int) -> None:
    for number in range(asks):
        ctx.schedule(ask, at=ctx.now, name=f"ask{number}")
    ctx.schedule(note, at=ctx.now, name="quick")


async def all_lines(cell: TestCell) -> list[tuple[str, str, int]]:
    found = await cell.runtime.do(lines, OWNER, {})
    return [(one.type, one.object, one.sequence) for one in found]


def test_all_is_heard_from_the_first_listener_on_and_nothing_elsewhere(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, herald) as cell:
            other = key_of(OTHER.id, "*")
            await cell.runtime.do(say, OWNER, {"by": "crier", "times": 3})
            await cell.runtime.do(listen, OWNER, {"name": "town"})
            await cell.runtime.do(say, OWNER, {"by": "crier", "times": 2})
            await cell.runtime.do(say, other, {"by": "crier", "times": 2})
            await cell.runtime.dispatcher.rest()
            wanted = [
                ("herald.listened", "herald:town", 1),
                ("herald.said", "herald:crier", 4),
                ("herald.said", "herald:crier", 5),
            ]
            assert await all_lines(cell) == wanted
            assert await cell.rows("SELECT DISTINCT site FROM herald_heard") == [(REAL.id,)]

            # Another process, started later, knows its sites from the table.
            await cell.runtime.stop()
            later = runtime_on(storage, [herald])
            await later.start()
            try:
                await later.do(say, OWNER, {"by": "crier", "times": 1})
                await later.do(say, other, {"by": "crier", "times": 1})
                await later.dispatcher.rest()
            finally:
                await later.stop()
            rows = await cell.rows("SELECT site, sequence FROM herald_heard ORDER BY id")
            assert rows[3:] == [(REAL.id, 6)]

    asyncio.run(go())


def test_due_work_goes_on_while_the_world_keeps_others_waiting(storage: Storage) -> None:
    async def go() -> None:
        gate = Gate()
        async with opened(storage, herald, resources={Gate: gate}) as cell:
            await cell.runtime.do(plan, OWNER, {"asks": 300})

            async def all_asked() -> bool:
                cell.runtime.due.wake()
                return gate.asked >= 256 and ("noted", "quick", 0) in await all_lines(cell)

            await cell.until(all_asked)
            # More ask the world than may at once: what needs the database alone is still done.
            await cell.runtime.do(plan, OWNER, {"asks": 0})

            async def twice() -> bool:
                return (await all_lines(cell)).count(("noted", "quick", 0)) == 2

            await cell.until(twice)
            assert gate.asked < 300 + 1
            gate.open.set()
            await cell.until_rows([(0,)], "SELECT count(*) FROM hansa_due")
            assert gate.asked == 300

    asyncio.run(go())
