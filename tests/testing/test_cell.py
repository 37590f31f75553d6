"""`hansa.testing`: what its documentation says of a cell, its sites, clocks and fakes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hansa.business.commerce import commerce
from hansa.business.commerce.api import OrderPlaced
from hansa.kernel.actions import World
from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import Conflict, Denied
from hansa.kernel.service import Service
from hansa.kernel.structs import Event, Struct
from hansa.testing import TestCell
from hansa.testing.cell import with_the_heard
from hansa.testing.schema import make_tables

tally = Service("tally", owner="tests", package=__name__)
counts = tally.table("counts", text("name", primary=True), integer("value"))
how_many = select(counts.c.value).where(counts.c.name == param("name"))
count_up = upsert(
    counts, key=("name",), values={"name": param("name"), "value": 1},
    change={"value": counts.c.value + 1},
)  # fmt: skip

weather = Service("weather", owner="others", package="nowhere")


class Rain(Struct):
    """What another team's service answers."""

    mm: int


class Counted(Event, aggregate="id"):
    """Something was counted."""

    id: ID


@weather.query("GET /rain", needs="weather.rain:read")
async def get_rain(ctx: Context, town: str) -> Rain:
    raise AssertionError("this service is not here")


@tally.command("POST /counts/{name}", needs="tally.counts:write")
async def count(ctx: Context, name: str) -> int:
    await ctx.db.run(count_up, name=name)
    ctx.emit(Counted(ID(f"count_{name}")))
    ctx.schedule(count_later, at=ctx.now + timedelta(days=1), name=f"{name} later")
    return await ctx.db.value(how_many, int, name=name) or 0


@tally.query("GET /counts/{name}", needs=PUBLIC)
async def get_count(ctx: Context, name: str) -> int:
    return await ctx.db.value(how_many, int, name=name) or 0


@tally.query("GET /wet/{town}", needs=PUBLIC)
async def is_wet(ctx: Context, town: str) -> bool:
    return (await ctx.call(get_rain, town=town)).mm > 0


@tally.due("tally.count_later")
async def count_later(ctx: Context, name: str) -> None:
    await ctx.db.run(count_up, name=name)


@tally.on(Counted)
async def count_event(ctx: Context, event: Counted) -> None:
    await ctx.db.run(count_up, name="events")


class Carrier:
    """What brings things somewhere."""

    def __init__(self, name: str) -> None:
        self.name = name


class Parcel(Struct):
    """What is brought, or has been by somebody."""

    text: str


@tally.action("POST /sendings/{name}", needs="tally.sendings:write", request=Parcel, outcome=Parcel)
async def send(ctx: Context, name: str) -> Parcel:
    return Parcel(name)


@send.outside
async def carry(world: World, request: Parcel) -> Parcel:
    return Parcel(f"{request.text} by {world.get(Carrier).name}")


@send.settle
async def arrive(ctx: Context, request: Parcel, outcome: Parcel) -> str:
    return outcome.text


@pytest.fixture
def services() -> Sequence[Service]:
    return (tally,)


async def made(cell: TestCell, **options: Any) -> Any:
    """The tables of this service have no revisions."""
    await make_tables(cell.storage, tally)
    return await cell.site("tea", **options)


async def test_calls_events_and_keys(cell: TestCell) -> None:
    tea = await made(cell)
    assert await tea.call(count, "cups") == 1
    assert await tea.under("k" * 22).call(count, name="cups") == 2
    assert await tea.under("k" * 22).call(count, name="cups") == 2
    assert await tea.visitor.call(get_count, "cups") == 2
    assert await tea.events(Counted) == [Counted(ID("count_cups"))] * 2
    await cell.rest()
    assert await tea.visitor.call(get_count, "events") == 2
    with pytest.raises(Denied):
        await tea.key("tally.counts:read").call(count, "cups")
    assert await tea.key("tally.*").call(count, "cups") == 3
    other = await cell.site("other")
    assert await other.call(get_count, "cups") == 0


async def test_a_clock_of_its_own(cell: TestCell) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    tea = await made(cell, at=start)
    await tea.call(count, "cups")
    assert await tea.now() == start
    assert await tea.advance(timedelta(hours=23)) == start + timedelta(hours=23)
    assert await tea.call(get_count, "cups later") == 0
    assert await tea.advance(start + timedelta(days=1)) == start + timedelta(days=1)
    assert await tea.call(get_count, "cups later") == 1
    with pytest.raises(Conflict):
        await (await cell.site("real")).advance(timedelta(1))


async def test_an_event_of_a_service_that_published_nothing(cell: TestCell) -> None:
    tea = await made(cell)
    await tea.emit(Counted(ID("count_1")))
    await cell.rest()
    assert await tea.call(get_count, "events") == 1


async def test_another_service_is_faked(cell: TestCell) -> None:
    tea = await made(cell)
    with cell.fake(get_rain, Rain(3)) as asked:
        assert await tea.call(is_wet, "Kiel")
        with cell.fake(get_rain, lambda town: Rain(len(town) - 4)):
            assert not await tea.call(is_wet, "Kiel")
        assert asked == [{"town": "Kiel"}]
        with pytest.raises(Denied):
            await tea.key("tally.*").call(is_wet, "Kiel")
    wrong: Any = "much"
    with cell.fake(get_rain, wrong), pytest.raises(TypeError, match="the fake of weather"):
        await tea.call(is_wet, "Kiel")


def test_a_cell_of_its_own_needs_no_fixture() -> None:
    import asyncio

    async def run() -> None:
        async with TestCell(tally) as cell:
            tea = await made(cell)
            assert await tea.call(count, "cups") == 1

    asyncio.run(run())


def test_the_services_that_are_heard_are_there() -> None:
    hears = Service("hears", owner="tests", package="hears")

    @hears.on(OrderPlaced)
    async def hear(ctx: Context, event: OrderPlaced) -> None: ...

    assert commerce in with_the_heard([hears])
    assert commerce not in with_the_heard([tally])


async def test_what_an_action_asks_of_the_world_can_be_another(cell: TestCell) -> None:
    tea = await made(cell)
    cell.runtime.resources[Carrier] = Carrier("parrot")
    assert await tea.call(send, "cups") == "cups by parrot"
