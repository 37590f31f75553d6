"""Ports trade with each other: coins between accounts, goods on stock, coins from the mint.

Owned by the kernel team. Each port is a service of its own, on a node and a cell of its own, and
uses every means of the kernel: commands under keys, events between cells in order, due work,
actions, and calls. What must never happen here: a handler that hides what it was handed.
"""

from datetime import timedelta
from functools import cache
from typing import Any, Final

from hansa.kernel.actions import Action, Refused, World
from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import param, select, update, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import PUBLIC, Operation
from hansa.kernel.problems import Conflict
from hansa.kernel.service import DueWork, Service
from hansa.kernel.structs import Event, Struct
from hansa.simulate.history import History
from hansa.simulate.loop import current_process
from hansa.simulate.mint import Mint

ACCOUNTS: Final = ("anna", "bent", "clara")
ITEMS: Final = ("amber", "cloth")
BALANCE: Final = 100
ON_HAND: Final = 12
BACKOFF_S: Final = (0.05, 0.1, 0.2, *([0.5] * 40))
STUMBLES: Final = "01"
"""The ends of an identifier with which a subscriber fails for once, of 32."""


class Transfer(Struct):
    """So many coins are to go from an account here to one anywhere."""

    account: str
    to_port: int
    to: str
    amount: int


class Moved(Struct):
    """What is left, and how many transfers the account has made."""

    account: str
    balance: int
    sent: int


class Account(Struct):
    """An account as it is."""

    name: str
    balance: int
    sent: int
    received: int


class Wanted(Struct):
    """So many of an item are wanted, for so long."""

    item: str
    quantity: int
    lapse_ms: int


class Reservation(Struct):
    """What is held."""

    id: ID
    item: str
    quantity: int


class Deposit(Struct):
    """So many coins from the mint are wanted on an account."""

    account: str
    amount: int


class Deposited(Struct):
    """What the mint gave."""

    id: ID
    account: str
    amount: int


class Minted(Struct):
    """What the mint said."""

    amount: int
    granted: bool


class Port:
    """One port as declared: its service, and what the simulation sends to it."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = f"p{number}"
        """How the history calls it: its accounts are p0/anna and so on."""
        service = self.service = Service(name, owner="kernel", package=f"{__name__}.{name}")
        self.accounts = service.table(
            "accounts", text("name", primary=True), integer("balance"), integer("sent"),
            integer("received"), checks=("balance >= 0",),
        )  # fmt: skip
        self.marks = service.table(
            "marks", integer("port", primary=True), text("account", primary=True),
            integer("last"), integer("count"), integer("breaks"),
        )  # fmt: skip
        self.stock = service.table(
            "stock", text("item", primary=True), integer("on_hand"), integer("reserved")
        )
        self.reservations = service.table(
            "reservations", text("item"), integer("quantity"), integer("lapses"), prefix="held"
        )
        self.deposits = service.table(
            "deposits", text("account"), integer("amount"), prefix="deposit"
        )
        self.sent = _sent_event(service.package)
        self.hold: Any
        self.transfer: Operation[..., Moved]
        self.look: Operation[..., Account]
        self.ask: Operation[..., Account]
        self.reserve: Operation[..., Reservation]
        self.deposit: Action[..., Deposited, Deposit, Minted]


def _sent_event(package: str) -> Any:
    class Sent(Event, aggregate="account"):
        """Coins have left an account."""

        __module__ = package
        account: str
        to_port: int
        to: str
        amount: int
        number: int

    return Sent


@cache
def ports(count: int) -> tuple[Port, ...]:
    """Declare so many ports that trade with each other."""
    made = tuple(Port(number, f"league{count}port{number}") for number in range(count))
    for port in made:
        _declare_transfers(port)
        _declare_stock(port)
        _declare_deposits(port)
        _declare_asking(port, made)
        for other in made:
            _subscribe(port, other)
    return made


def _declare_transfers(port: Port) -> None:
    c = port.accounts.c
    debit = (
        update(port.accounts)
        .where(c.name == param("account"), c.balance >= param("amount", int))
        .values(balance=c.balance - param("amount", int), sent=c.sent + 1)
        .returning(c.name, c.balance, c.sent)
    )
    by_name = select(port.accounts).where(c.name == param("name"))

    @port.service.command("POST /transfers", needs=PUBLIC)
    async def transfer(ctx: Context, body: Transfer) -> Moved:
        """Move coins on."""
        rows = await ctx.db.rows(debit, account=body.account, amount=body.amount)
        if not rows:
            raise Conflict(f"{body.account} has less than {body.amount}.")
        name, balance, sent = rows[0]
        ctx.emit(port.sent(name, body.to_port, body.to, body.amount, sent))
        _note(ctx, port, f"sends {body.amount} of {name}, transfer {sent}", name)
        return Moved(name, balance, sent)

    @port.service.query("GET /accounts/{name}", needs=PUBLIC)
    async def look(ctx: Context, name: str) -> Account:
        """Show an account."""
        return await ctx.db.one(by_name, Account, name=name)

    port.transfer, port.look = transfer, look


def _subscribe(port: Port, other: Port) -> None:
    c, m = port.accounts.c, port.marks.c
    credit = (
        update(port.accounts)
        .where(c.name == param("to"))
        .values(balance=c.balance + param("amount", int), received=c.received + 1)
    )
    mark = select(m.last).where(m.port == param("port", int), m.account == param("account"))
    set_mark = upsert(
        port.marks, key=("port", "account"),
        values={
            "port": param("port"), "account": param("account"), "last": param("last"),
            "count": 1, "breaks": param("breaks"),
        },
        change={
            "last": param("last"), "count": m.count + 1, "breaks": m.breaks + param("breaks")
        },
    )  # fmt: skip

    async def hear(ctx: Context, event: Any) -> None:
        about = f"{other.name}/{event.account}"
        before = await ctx.db.value(mark, int, port=other.number, account=event.account) or 0
        await ctx.db.run(
            set_mark, port=other.number, account=event.account, last=event.number,
            breaks=int(event.number != before + 1),
        )  # fmt: skip
        if event.to_port == port.number:
            await ctx.db.run(credit, to=event.to, amount=event.amount)
        what = f"hears of transfer {event.number} of {about}, the last was {before}"
        ctx.get(History).note(current_process().name, what, about)
        if ctx.new_id("dice")[-1] in STUMBLES:
            raise RuntimeError("stumbled")

    hear.__name__ = f"hear_{other.number}"
    port.service.on(other.sent, backoff_s=BACKOFF_S)(hear)


def _declare_stock(port: Port) -> None:
    s, r = port.stock.c, port.reservations.c
    quantity = param("quantity", int)
    port.hold = (
        update(port.stock)
        .where(s.item == param("item"), s.on_hand - s.reserved >= quantity)
        .values(reserved=s.reserved + quantity)
    )
    release = (
        update(port.stock).where(s.item == param("item")).values(reserved=s.reserved - quantity)
    )
    lapsed = (
        update(port.reservations)
        .where(r.id == param("id"))
        .values(lapses=r.lapses + 1)
        .returning(r.item, r.quantity)
    )

    @port.service.due(f"{port.service.name}.lapse", backoff_s=BACKOFF_S)
    async def lapse(ctx: Context, held: ID) -> None:
        [(item, quantity)] = await ctx.db.rows(lapsed, id=held)
        await ctx.db.run(release, item=item, quantity=quantity)
        _note(ctx, port, f"lets {quantity} {item} of {held} go", item, held)
        if ctx.new_id("dice")[-1] in STUMBLES:
            raise RuntimeError("stumbled")

    work: DueWork = lapse

    @port.service.command("POST /reservations", needs=PUBLIC)
    async def reserve(ctx: Context, body: Wanted) -> Reservation:
        """Hold some of an item for a while."""
        await promise(ctx, port, body)
        id = await ctx.db.insert(
            port.reservations, item=body.item, quantity=body.quantity, lapses=0
        )
        _note(ctx, port, f"holds {body.quantity} {body.item} as {id}", body.item, id)
        ctx.schedule(work, at=ctx.now + timedelta(milliseconds=body.lapse_ms), held=id)
        return Reservation(id, body.item, body.quantity)

    port.reserve = reserve


async def promise(ctx: Context, port: Port, body: Wanted) -> None:
    """Have some of an item reserved, if there is enough of it."""
    if not await ctx.db.run(port.hold, item=body.item, quantity=body.quantity):
        raise Conflict(f"There is too little {body.item}.")


def _declare_deposits(port: Port) -> None:
    c = port.accounts.c
    credit = (
        update(port.accounts)
        .where(c.name == param("account"))
        .values(balance=c.balance + param("amount", int))
    )

    @port.service.action(
        "POST /deposits", needs=PUBLIC, request=Deposit, outcome=Minted, outside_s=1.0,
        backoff_s=BACKOFF_S,
    )  # fmt: skip
    async def deposit(ctx: Context, body: Deposit) -> Deposit:
        """Have coins minted."""
        return body

    @deposit.outside
    async def mint(world: World, request: Deposit) -> Minted:
        granted = await world.get(Mint).take(world.key, request.amount)
        return Minted(request.amount, granted)

    @deposit.settle
    async def settle(ctx: Context, request: Deposit, outcome: Minted) -> Deposited:
        if not outcome.granted:
            raise Refused(Conflict("The mint has no more today."))
        id = await ctx.db.insert(port.deposits, account=request.account, amount=outcome.amount)
        await ctx.db.run(credit, account=request.account, amount=outcome.amount)
        _note(ctx, port, f"deposits {outcome.amount} for {request.account}", request.account)
        return Deposited(id, request.account, outcome.amount)

    port.deposit = deposit


def _note(ctx: Context, port: Port, what: str, thing: str, *about: str) -> None:
    """Tell what a handler does; that it was kept is only known by what follows."""
    ctx.get(History).note(current_process().name, what, f"{port.name}/{thing}", *about)


def _declare_asking(port: Port, made: tuple[Port, ...]) -> None:
    @port.service.query("GET /others/{other}/{name}", needs=PUBLIC)
    async def ask(ctx: Context, other: int, name: str) -> Account:
        """Show an account of another port, by a call."""
        return await ctx.call(made[other].look, name=name)

    port.ask = ask
