"""Payments: what the provider tells by webhook. It may tell late, twice and out of order."""

from typing import Any

from hansa.business.commerce import commerce, tables
from hansa.business.commerce.api.checkout import complete, void_payment
from hansa.business.commerce.api.orders import cancel, refund
from hansa.business.commerce.payments import Payments, WebhookInvalid
from hansa.kernel.compiler import param, upsert
from hansa.kernel.context import Context
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import Invalid, NotFound
from hansa.kernel.structs import RawBody, Struct

_take = upsert(
    tables.payment_events,
    key=("id",),
    values={
        "id": param("id"), "key": param("key"), "purpose": param("purpose"),
        "at": param("at", tables.payment_events.c["at"].type),
    },
)  # fmt: skip


class Received(Struct):
    """Whether a webhook said anything new."""

    new: bool


@commerce.command("POST /payments/webhooks", needs=PUBLIC, serial_by=lambda: "stock")
async def receive_webhook(ctx: Context, raw: RawBody) -> Received:
    """Take a provider's webhook: the attempt that it is about is settled by it, unless it is."""
    try:
        notice = ctx.get(Payments).provider.parse_webhook(raw)
    except WebhookInvalid as error:
        raise Invalid(f"The webhook is not valid: {error}.", slug="invalid-webhook") from None
    new = await ctx.db.run(_take, id=notice.id, key=notice.key, purpose=notice.purpose, at=ctx.now)
    if not new:
        return Received(False)
    actions: tuple[Any, ...] = (
        (complete,) if notice.purpose == "charge" else (refund, cancel, void_payment)
    )
    for action in actions:
        try:
            await ctx.settle(action, notice.key, notice.outcome)
            return Received(True)
        except NotFound:
            continue
    return Received(False)
