"""A cell with a site, a service that has something to tell, and a receiver."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hansa.assembly import OPERATOR, SERVICES, Cell, Place
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.clock import MachineClock
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.service import Service
from hansa.kernel.structs import Event, PageRequest
from hansa.platform.sites.api import NewSite, create_site
from hansa.platform.webhooks import api
from tests.platform.webhooks.receiver import Receiver, receiving

WAIT_S = 30
harbour = Service("harbour", owner="tests", package=__name__)


class ShipCame(Event, aggregate="ship"):
    """A ship came, for the so manieth time."""

    ship: ID
    times: int


class TideTurned(Event, aggregate="at"):
    """Another kind."""

    at: ID


@harbour.command(needs="harbour.ships:write")
async def come(ctx: Context, ship: ID, times: int, first: int = 1) -> None:
    """Have a ship come some times."""
    for number in range(first, first + times):
        ctx.emit(ShipCame(ship, number))


@harbour.command(needs="harbour.ships:write")
async def turn(ctx: Context, at: ID) -> None:
    """Have the tide turn."""
    ctx.emit(TideTurned(at))


class Shifted(MachineClock):
    """The machine's clock, which a test may put forward."""

    __slots__ = ("ahead_s",)

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + int(self.ahead_s * 1_000_000)


class Office:
    """A site that has endpoints."""

    def __init__(self, cell: Cell, clock: Shifted, receiver: Receiver) -> None:
        self.cell = cell
        self.clock = clock
        self.receiver = receiver
        self.runtime = cell.runtime
        self.site = ""

    async def make_site(self) -> str:
        """Make another site, and act on it from now on."""
        site = await self.runtime.do(create_site, OPERATOR, {"body": NewSite("harbour")})
        self.site = site.id
        return self.site

    async def run(self, operation: Any, **arguments: Any) -> Any:
        """Run an operation on the site."""
        return await self.runtime.do(operation, Caller(self.site, SYSTEM), arguments)

    async def endpoint(self, *events: str, **values: Any) -> api.CreatedEndpoint:
        """Make an endpoint that leads to the receiver."""
        body = api.NewEndpoint(self.receiver.url, events, **values)
        made: api.CreatedEndpoint = await self.run(api.create_endpoint, body=body)
        return made

    async def deliveries(self, endpoint: str) -> list[api.Delivery]:
        """Return an endpoint's deliveries, the oldest first."""
        page = await self.run(api.list_deliveries, endpoint=endpoint, page=PageRequest(100))
        return list(reversed(page.items))

    async def states(self, endpoint: str) -> list[str]:
        return [one.state for one in await self.deliveries(endpoint)]

    async def later(self, seconds: float) -> None:
        """Put the clock forward and have what is due then done."""
        self.clock.ahead_s += seconds
        self.runtime.due.wake()

    async def until(self, check: Callable[[], Awaitable[Any]]) -> Any:
        """Return what a check finds, as soon as it finds something."""
        async with asyncio.timeout(WAIT_S):
            while not (found := await check()):
                self.runtime.due.wake()
                await asyncio.to_thread(int)
            return found

    async def until_states(self, endpoint: str, *states: str) -> None:
        """Return when the deliveries of an endpoint are in these states."""
        seen: list[str] = []

        async def holds() -> bool:
            seen[:] = await self.states(endpoint)
            return seen == list(states)

        try:
            await self.until(holds)
        except TimeoutError:
            raise AssertionError(f"{seen} is not {states}") from None


@asynccontextmanager
async def opened(place: Place, *, timeout_s: float = 15.0) -> AsyncIterator[Office]:
    """Open a cell with an office on it, and close it."""
    clock = Shifted()
    async with receiving(Path(place.folder)) as receiver:
        cell = Cell(
            place, services=(*SERVICES, harbour), as_if_remote=True, clock=clock,
            poster=receiver.poster(timeout_s),
        )  # fmt: skip
        await cell.open()
        try:
            office = Office(cell, clock, receiver)
            await office.make_site()
            yield office
        finally:
            await cell.close()
