"""Load: a worker that does everything at once, until it is killed.

Each client loops over a mix of commands under keys; what was acknowledged is noted in the journal.
Keys of before the last kill are sent again first: their answers must be the same.
"""

import asyncio
import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import uvloop

from hansa.assembly import OPERATOR, SERVICES, Cell, Place
from hansa.business.commerce import api as shop
from hansa.kernel import advance, codec, migrating
from hansa.kernel.actions import Unknown
from hansa.kernel.caller import PUBLIC_PRINCIPAL, SYSTEM, Caller
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import Overloaded, Problem, StorageFailed, StorageFull
from hansa.kernel.schedule import from_us
from hansa.kernel.structs import Money
from hansa.platform.sites.api import NewSite, TestClock, create_site
from hansa.testing.schema import make_tables
from hansa.torture import journal
from hansa.torture.journal import Journal
from hansa.torture.service import Plan, Step, plan, step, torture

CLIENTS: Final = 8
REPEATED: Final = 40
TOKENS: Final = (
    "tok_ok", "tok_ok", "tok_ok", "tok_declined", "tok_twice", "tok_timeout", "tok_lost",
    "tok_late", "tok_disorder",
)  # fmt: skip
TORTURED: Final = (*SERVICES, torture)
TROUBLE: Final = (StorageFailed, StorageFull, Overloaded)


@dataclass
class Scene:
    """What all rounds of a run share: the two sites and the goods everybody wants."""

    site: str
    clock_site: str
    hot: list[str]


async def set_up(place: Place) -> Scene:
    """Make the sites and the goods."""
    cell = Cell(place, services=TORTURED, background=False)
    cell.storage = place.storage()
    await cell.storage.open()
    await migrating.migrate(cell.storage, SERVICES)
    await make_tables(cell.storage, torture)
    await cell.storage.close()
    await cell.open()
    try:
        runtime = cell.runtime
        one = await runtime.do(create_site, OPERATOR, {"body": NewSite("torture")})
        stands = TestClock(datetime(2026, 1, 1, tzinfo=UTC))
        other = await runtime.do(
            create_site, OPERATOR, {"body": NewSite("clock", zone="Europe/Berlin", clock=stands)}
        )
        caller = Caller(one.id, SYSTEM)
        hot: list[str] = []
        for number in range(4):
            form = shop.NewVariant(f"hot-{number}", Money(1000 + number, "EUR"), stock=40)
            body = shop.NewProduct(f"hot-{number}", "Hot", (form,))
            made = await runtime.do(shop.create_product, caller, {"body": body})
            hot.append(made.variants[0].id)
        return Scene(one.id, other.id, hot)
    finally:
        await cell.close()


class Worker:
    """One process under load."""

    def __init__(self, place: Place, scene: Scene, number: int, seed: int) -> None:
        self.cell = Cell(place, services=TORTURED, as_if_remote=True, testpay=True)
        self.scene = scene
        self.number = number
        self.chance = random.Random(seed)
        self.journal = Journal(place.folder, number)
        self.prefix = f"{number}.{seed & 0xFFFFFF:06x}"
        self.count = 0
        self.folder = place.folder

    async def run(self) -> None:
        """Open the cell, repeat old keys, and load it until the process is killed."""
        await self.cell.open(migrate=False)
        await self._repeat()
        self.journal.note("up", pid=os.getpid())
        clients = [self._client(index) for index in range(CLIENTS)]
        await asyncio.gather(*clients, self._clock())

    async def _client(self, index: int) -> None:
        verbs = (
            self._step, self._step, self._step, self._buy, self._buy, self._plan, self._product,
            self._receive, self._batch, self._refund,
        )  # fmt: skip
        while True:
            try:
                await self.chance.choice(verbs)()
            except (*TROUBLE, Unknown):
                await asyncio.sleep(0.01)
            except Problem as problem:
                if problem.status >= 500:
                    self.journal.note("violation", what=f"{problem.slug}: {problem}")

    async def _repeat(self) -> None:
        """Send keys again that were answered before the kill; the answers must be the same."""
        answered = [line for line in journal.read(self.folder) if line["kind"] == "answer"]
        for line in answered[-REPEATED:]:
            operation = self.cell.runtime.by_id[line["operation"]]
            arguments = self.cell.runtime.stored.operation_arguments(
                operation, codec.encode(line["arguments"])
            )
            try:
                answer = await self._do(operation, line["site"], arguments, line["key"])
            except (*TROUBLE, Unknown):
                continue
            except Problem as problem:
                self.journal.note("violation", what=f"repeated {line['key']}: {problem.slug}")
                continue
            if codec.encode(answer) != codec.encode(line["answer"]) and answer != codec.convert(
                line["answer"], operation.returns
            ):
                self.journal.note("violation", what=f"repeated {line['key']}: another answer")

    async def _do(self, operation: Any, site: str, arguments: dict[str, Any], key: str) -> Any:
        kind = PUBLIC_PRINCIPAL if operation.needs is PUBLIC else SYSTEM
        return await self.cell.runtime.do(operation, Caller(site, kind), arguments, key=key)

    async def _send(self, operation: Any, key: str = "", /, **arguments: Any) -> Any:
        """Send a command of the shop's site and note its answer; the key stays for a repetition."""
        self.count += 1
        key = key or f"{self.prefix}.{self.count}.{self.chance.getrandbits(128):032x}"
        site = self.scene.site
        answer = await self._do(operation, site, arguments, key)
        self.journal.note(
            "answer", operation=operation.id, site=site, key=key,
            arguments=codec.convert_out(arguments), answer=codec.convert_out(answer),
        )  # fmt: skip
        return answer

    # ---- what clients do

    async def _step(self) -> None:
        await self._send(step, body=Step(f"counter-{self.chance.randrange(12)}"))

    async def _plan(self) -> None:
        name = f"{self.prefix}.{self.count}.{self.chance.randrange(1 << 30)}"
        await self._send(plan, body=Plan(name, self.chance.randrange(400)))

    async def _product(self) -> None:
        name = f"p-{self.chance.randrange(1 << 40):x}"
        form = shop.NewVariant(name, Money(500, "EUR"), stock=3)
        await self._send(shop.create_product, body=shop.NewProduct(name, "Made", (form,)))

    async def _receive(self) -> None:
        variant = self.chance.choice(self.scene.hot)
        await self._send(shop.move_stock, variant=variant, body=shop.Move("receive", 2))

    async def _batch(self) -> None:
        source = f"{self.prefix}.{self.count}"
        for first in (1, 11):
            products = tuple(
                shop.NewProduct(
                    f"{source.replace('.', '-')}-{line}", "Imported",
                    (shop.NewVariant(f"{source}.{line}", Money(100, "EUR")),),
                )
                for line in range(first, first + 10)
            )  # fmt: skip
            body = shop.ImportBatch(source, first, first + 10, products)
            await self._send(shop.import_products, f"{source}:{first}", body=body)

    async def _buy(self) -> None:
        wanted = self.chance.choices(self.scene.hot, k=2)
        lines = tuple(shop.Line(variant, 1) for variant in wanted)
        cart = await self._send(shop.create_cart, body=shop.NewCart(lines, "a@example.com"))
        total = Money(cart.priced.total_minor, cart.priced.currency)
        body = shop.Complete(cart.version, total, self.chance.choice(TOKENS))
        await self._send(shop.complete, id=cart.id, body=body)

    async def _refund(self) -> None:
        done = [
            line for line in journal.read(self.folder)
            if line["kind"] == "answer" and line["operation"] == "commerce.complete"
        ][-20:]  # fmt: skip
        if not done:
            return
        order = self.chance.choice(done)["answer"]["id"]
        if self.chance.random() < 0.5:
            await self._send(shop.cancel, id=order)
        else:
            await self._send(shop.refund, id=order, body=shop.NewRefund(100))

    async def _clock(self) -> None:
        """Move the other site's clock, by a few days at a time."""
        while self.number == 0:
            try:
                info = await self.cell.runtime.site(self.scene.clock_site)
                now, target, _ = await advance.read_clock(self.cell.runtime, info)
                days = timedelta(days=self.chance.randrange(1, 4))
                to = from_us(target) + days if target <= now else from_us(target)
                await self.cell.runtime.advance(self.scene.clock_site, to)
            except (*TROUBLE, Problem):
                await asyncio.sleep(0.02)


def work(place: Place, scene: Scene, number: int, seed: int) -> None:
    """Be a worker, in a process of its own, for ever."""
    uvloop.run(Worker(place, scene, number, seed).run())
