"""Sending: a message goes out as due work, until each recipient's server has taken or refused it.

A process that dies while it sends leaves an attempt; the next one sends again, under the same
Message-ID, to those who are not known to have it.
"""

from datetime import datetime, timedelta

from hansa.kernel.actions import Done, World
from hansa.kernel.compiler import delete, param, select, update
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import INTERNAL
from hansa.kernel.structs import Struct
from hansa.platform.mail import letter as rules
from hansa.platform.mail import mail as service
from hansa.platform.mail import tables
from hansa.platform.mail.api.events import MailBounced, MailSent
from hansa.platform.mail.carrying import TIMEOUT_S, Mailer, Outcome, Reply
from hansa.platform.mail.letter import Letter

KEPT = timedelta(days=30)
BATCH = 200


class Try(Struct):
    """One try: what is sent, and to whom it has not been sent yet."""

    message: ID
    letter: Letter
    recipients: tuple[str, ...]
    at: datetime


class _Kept(Struct):
    letter: Letter
    state: str
    tries: int
    at: datetime
    next_at: datetime


_m, _r = tables.messages.c, tables.recipients.c
_message = select(_m.letter, _m.state, _m.tries, _m["at"], _m.next_at).where(_m.id == param("id"))
_waiting = (
    select(_r.address)
    .where(_r.message_id == param("id"), _r.state == "waiting")
    .order_by(_r.address)
)
_states = select(_r.state).where(_r.message_id == param("id"))
_said = (
    update(tables.recipients)
    .where(
        _r.message_id == param("id"), _r.address == param("address"), _r.state == "waiting"
    )
    .values(
        state=param("state"), code=param("code"), reply=param("reply"),
        changed_at=param("changed_at"),
    )
)  # fmt: skip
_give_up = (
    update(tables.recipients)
    .where(_r.message_id == param("id"), _r.state == "waiting")
    .values(state="bounced", changed_at=param("changed_at"))
)


@service.action(needs=INTERNAL, request=Try, outcome=Outcome, outside_s=TIMEOUT_S + 1)
async def send(ctx: Context, message: ID) -> Try | Done[None]:
    """Send a message to those who have not got it, if it is time."""
    kept = await ctx.db.first(_message, _Kept, id=message)
    if kept is None or kept.state != "waiting" or kept.next_at > ctx.now:
        return Done(None)
    left = await ctx.db.all(_waiting, str, id=message)
    await ctx.db.update(tables.messages, message, state="sending", changed_at=ctx.now)
    return Try(message, kept.letter, tuple(left), kept.at)


@send.outside
async def carry(world: World, request: Try) -> Outcome:
    """Bring it to the site's server, or say that it has none."""
    mailer = world.get(Mailer)
    server = await mailer.server(world.site)
    if server is None:
        return Outcome(tuple(Reply(one, 0, "") for one in request.recipients), kept=True)
    sender = rules.check_address(server.sender)
    data = rules.compose(request.letter, request.message, sender, request.at)
    return await mailer.carry(server, request.recipients, data)


@send.settle
async def settle_send(ctx: Context, request: Try, outcome: Outcome) -> None:
    """Record what the server said of each recipient, and when to try again, if at all."""
    kept = await ctx.db.first(_message, _Kept, id=request.message)
    if kept is None:
        return
    for reply in outcome.replies:
        state = "kept" if outcome.kept else rules.reply_state(reply.code)
        await ctx.db.run(
            _said, id=request.message, address=reply.address, state=state, code=reply.code,
            reply=reply.text, changed_at=ctx.now,
        )  # fmt: skip
    tries = kept.tries + 1
    left = await ctx.db.all(_waiting, str, id=request.message)
    if left and tries <= len(rules.WAITS_S):
        at = ctx.now + timedelta(seconds=rules.WAITS_S[tries - 1])
        await ctx.db.update(
            tables.messages, request.message, state="waiting", tries=tries, next_at=at,
            changed_at=ctx.now,
        )  # fmt: skip
        ctx.schedule(send, at=at, id=f"mail:{request.message}", message=request.message)
        return
    await ctx.db.run(_give_up, id=request.message, changed_at=ctx.now)
    await _finish(ctx, request.message, tries)


async def _finish(ctx: Context, message: ID, tries: int) -> None:
    states = await ctx.db.all(_states, str, id=message)
    bounced = states.count("bounced")
    state = "bounced" if bounced else "kept" if "kept" in states else "sent"
    await ctx.db.update(tables.messages, message, state=state, tries=tries, changed_at=ctx.now)
    ctx.emit(MailBounced(message, len(states), bounced) if bounced else MailSent(message))


# ---- keeping

_old = (
    select(_m.id)
    .where(_m["at"] < param("before"), _m.state.in_(("sent", "bounced", "kept")))
    .order_by(_m["at"])
    .limit(BATCH)
)
_old_recipients = delete(tables.recipients).where(_r.message_id.in_(param("ids")))
_old_messages = delete(tables.messages).where(_m.id.in_(param("ids")))


@service.every("41 3 * * *", spread_s=3600)
async def forget_old(ctx: Context) -> None:
    """Begin to take away mail that is older than thirty days."""
    ctx.schedule(forget, at=ctx.now, id="forget-mail")


@service.due("mail.forget")
async def forget(ctx: Context) -> None:
    """Take one batch away, and come back for the next."""
    ids = await ctx.db.all(_old, str, before=ctx.now - KEPT)
    if ids:
        await ctx.db.run(_old_recipients, ids=ids)
        await ctx.db.run(_old_messages, ids=ids)
    if len(ids) == BATCH:
        ctx.schedule(forget, at=ctx.now, id="forget-mail")
