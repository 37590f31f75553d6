"""Payments: what the provider tells by webhook. It may tell late, twice and out of order."""

from datetime import datetime
from typing import Any, Final, Literal

from hansa.business.commerce import commerce, tables
from hansa.business.commerce.api.checkout import complete, void_payment
from hansa.business.commerce.api.orders import cancel, refund
from hansa.business.commerce.payments import Payments, WebhookInvalid
from hansa.kernel import actions
from hansa.kernel.compiler import param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import Invalid
from hansa.kernel.structs import Money, Page, PageRequest, RawBody, Struct

PaymentState = Literal["captured", "declined", "orphaned", "voided", "stuck"]

_of_state = select(tables.payments).where(tables.payments.c.state == param("state"))
_take = upsert(
    tables.payment_events,
    key=("id",),
    values={
        "id": param("id"), "key": param("key"), "purpose": param("purpose"),
        "at": param("at", tables.payment_events.c["at"].type),
    },
)  # fmt: skip

_SETTLED: Final[dict[str, tuple[Any, ...]]] = {
    "charge": (complete,), "refund": (refund, cancel, void_payment)
}  # fmt: skip
"""The actions whose attempts ask a provider, by the purpose that its webhook names."""


class Payment(Struct):
    """Money that was asked for: `orphaned` has yet to go back, `stuck` will not by itself."""

    id: ID
    cart_id: ID
    order_id: ID | None
    state: PaymentState
    reference: str
    reason: str
    amount: Money
    at: datetime


class Received(Struct):
    """Whether a webhook said anything new."""

    new: bool


@commerce.query("GET /payments", needs="commerce.orders:read")
async def list_payments(ctx: Context, page: PageRequest, state: PaymentState) -> Page[Payment]:
    """List the payments of a state, the newest first; those that are `stuck` wait for a person."""
    found: Page[Payment] = await ctx.db.page(
        _of_state, Payment, page, order=(tables.payments.c.id.desc(),), state=state
    )
    return found


@commerce.command("POST /payments/webhooks", needs=PUBLIC, serial_by=lambda: "stock")
async def receive_webhook(ctx: Context, raw: RawBody) -> Received:
    """Take a provider's webhook: the attempt that it is about is settled by it, unless it is. One
    about an attempt that is not of this site, or that no action here asked under, says nothing."""
    try:
        notice = ctx.get(Payments).provider.parse_webhook(raw)
    except WebhookInvalid as error:
        raise Invalid(f"The webhook is not valid: {error}.", slug="invalid-webhook") from None
    new = await ctx.db.run(_take, id=notice.id, key=notice.key, purpose=notice.purpose, at=ctx.now)
    if not new:
        return Received(False)
    attempt = await actions.state_of(ctx.session, ctx.site, notice.key)
    asked = attempt.action if attempt else ""
    for action in _SETTLED[notice.purpose]:
        if action.id == asked:
            await ctx.settle(action, notice.key, notice.outcome)
            return Received(True)
    return Received(False)
