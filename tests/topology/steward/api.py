"""What may be asked of the steward."""

from datetime import datetime, timedelta

from hansa.business.commerce.api import OrderCancelled, OrderPlaced, get_product
from hansa.kernel.compiler import param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import Conflict
from hansa.kernel.structs import Struct
from hansa.platform.mail.api import Letter, queue_mail
from tests.topology.steward import steward, tables

_r = tables.receipts.c
_count = upsert(
    tables.receipts, key=("order_id",),
    values={"order_id": param("order_id"), "number": param("number"), "times": 1},
    change={"times": _r.times + 1}, returning=(_r.times,),
)  # fmt: skip
_d = tables.diary.c
_diary = select(_d.what, _d.at).order_by(_d.at, _d.what)
_receipt = select(_r.order_id, _r.number, _r.times).where(_r.order_id == param("order"))


class Receipt(Struct):
    """An order as the steward heard of it, and how often."""

    order_id: ID
    number: int
    times: int


class Entry(Struct):
    """What was when."""

    what: str
    at: datetime


class Reminder(Struct):
    """What is to be in the diary after some days, and in a letter."""

    what: str
    days: int


class Note(Struct):
    """A letter to be sent, unless the command fails."""

    to: str
    subject: str
    fail: bool = False


@steward.on(OrderPlaced)
async def keep_receipt(ctx: Context, event: OrderPlaced) -> None:
    """Keep a receipt, and thank the buyer."""
    await ctx.db.run(_count, order_id=event.id, number=event.number)
    queue_mail(ctx, Letter((f"order-{event.number}@a.example",), event.id, "Thank you."))


@steward.query("GET /receipts/{order}", needs="steward.receipts:read")
async def get_receipt(ctx: Context, order: ID) -> Receipt:
    """Return the receipt of an order. Raises NotFound."""
    return await ctx.db.one(_receipt, Receipt, order=order)


@steward.query("GET /titles/{handle}", needs=PUBLIC)
async def get_title(ctx: Context, handle: str) -> str:
    """Return what the shop calls a product. Raises NotFound."""
    return (await ctx.call(get_product, handle=handle)).product.title


@steward.command("POST /notes", needs="steward.notes:write", status=202)
async def send_note(ctx: Context, body: Note) -> ID:
    """Have a letter sent. Raises Conflict where it is to fail."""
    id = queue_mail(ctx, Letter((body.to,), body.subject, "Hello."))
    if body.fail:
        raise Conflict("After all, no.", slug="after-all")
    return id


@steward.on(OrderCancelled)
async def note_cancelled(ctx: Context, event: OrderCancelled) -> None:
    """Write down when an order was heard to be cancelled."""
    await ctx.db.insert(tables.diary, what="cancelled", at=ctx.now)


@steward.command("POST /reminders", needs="steward.notes:write", status=202)
async def remind_later(ctx: Context, body: Reminder) -> None:
    """Have something written down later."""
    ctx.schedule(remind, at=ctx.now + timedelta(days=body.days), what=body.what)


@steward.due("steward.remind")
async def remind(ctx: Context, what: str) -> None:
    """Write down what somebody wanted to be reminded of, and write to them."""
    await ctx.db.insert(tables.diary, what=what, at=ctx.now)
    queue_mail(ctx, Letter((f"{what}@a.example",), "Remember", "You wanted to know."))


@steward.every("0 6 * * *")
async def rise(ctx: Context) -> None:
    """Write down each morning."""
    await ctx.db.insert(tables.diary, what="morning", at=ctx.now)


@steward.query("GET /diary", needs="steward.receipts:read")
async def read_diary(ctx: Context) -> list[Entry]:
    """Return what was when."""
    return await ctx.db.all(_diary, Entry)
