"""Messages: queueing mail, and looking into the mailbox."""

from datetime import datetime
from typing import Any, Literal

from hansa.kernel.compiler import param, select, update
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import INTERNAL
from hansa.kernel.problems import Conflict, Fault, NotFound, Unprocessable
from hansa.kernel.structs import Page, PageRequest, Struct
from hansa.platform.mail import letter as rules
from hansa.platform.mail import mail as service
from hansa.platform.mail import tables
from hansa.platform.mail.letter import Letter

State = Literal["waiting", "sending", "sent", "bounced", "kept"]


class Message(Struct):
    """A message as it is listed. `kept`: it stays in the mailbox, for want of a server."""

    id: ID
    subject: str
    state: State
    tries: int
    at: datetime
    next_at: datetime
    changed_at: datetime


class Recipient(Struct):
    """A recipient, and what their server said last."""

    address: str
    state: Literal["waiting", "sent", "bounced", "kept"]
    code: int
    reply: str
    changed_at: datetime


class MessageSeen(Struct):
    """A message with all that is in it."""

    message: Message
    letter: Letter
    recipients: list[Recipient]


class _Inside(Struct):
    letter: Letter


class Queued(Struct):
    """A message that is on its way."""

    id: ID


_m, _r = tables.messages.c, tables.recipients.c
_shown = select(*[_m[name] for name in Message.__struct_fields__])
_in_state = _shown.where(_m.state == param("state"))
_by_id = _shown.where(_m.id == param("id"))
_letter = select(_m.letter).where(_m.id == param("id"))
_to_whom = (
    select(_r.address, _r.state, _r.code, _r.reply, _r.changed_at)
    .where(_r.message_id == param("id"))
    .order_by(_r.address)
)
_again = (
    update(tables.recipients)
    .where(_r.message_id == param("id"), _r.state.in_(("bounced", "kept")))
    .values(state="waiting")
)


def check(letter: Letter) -> Letter:
    """Return a letter that can be sent. Raises Unprocessable with all that is wrong in it."""
    faults: list[Fault] = []

    def take(pointer: str, rule: Any, *values: Any) -> str:
        try:
            return str(rule(*values))
        except ValueError as error:
            faults.append(Fault(pointer, str(error)))
            return ""

    def each(pointer: str, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            take(f"{pointer}/{place}", rules.check_address, one)
            for place, one in enumerate(texts[: rules.RECIPIENTS_MAX])
        )

    everybody = (*letter.to, *letter.cc, *letter.bcc)
    if not 1 <= len(everybody) <= rules.RECIPIENTS_MAX:
        faults.append(Fault("/to", f"1 to {rules.RECIPIENTS_MAX} recipients, with cc and bcc"))
    if not letter.text and not letter.html:
        faults.append(Fault("/text", "a text, or html"))
    if len(letter.headers) > rules.HEADERS_MAX:
        faults.append(Fault("/headers", f"at most {rules.HEADERS_MAX}"))
    checked = Letter(
        to=each("/to", letter.to),
        subject=take("/subject", rules.check_line, letter.subject, rules.SUBJECT_LETTERS_MAX),
        text=take("/text", rules.check_body, letter.text),
        html=take("/html", rules.check_body, letter.html),
        cc=each("/cc", letter.cc),
        bcc=each("/bcc", letter.bcc),
        reply_to=take("/reply_to", rules.check_address, letter.reply_to) if letter.reply_to else "",
        headers={
            name: take(f"/headers/{name[:80]}", rules.check_header, name, value)
            for name, value in list(letter.headers.items())[: rules.HEADERS_MAX]
        },
    )
    if len({name.lower() for name in checked.headers}) < len(checked.headers):
        faults.append(Fault("/headers", "each header once"))
    if faults:
        raise Unprocessable("The mail is refused.", errors=tuple(faults))
    return checked


def queue_mail(ctx: Context, letter: Letter) -> ID:
    """Have a letter sent if and when the command of `ctx`, of whichever service, commits. Returns
    the id of its message. Raises Unprocessable for a letter that cannot be sent."""
    id = ctx.new_id("mail")
    ctx.schedule(take_letter, at=ctx.now, id=f"take:{id}", message=id, letter=check(letter))
    return id


@service.command(needs=INTERNAL)
async def take_letter(ctx: Context, message: ID, letter: Letter) -> None:
    """Take a letter that another service has queued."""
    await _take(ctx, message, letter)


@service.command("POST /messages", needs="mail.messages:write", status=202)
async def send_mail(ctx: Context, body: Letter) -> Queued:
    """Send a letter. Raises Unprocessable with all that is wrong in it."""
    id = ctx.new_id("mail")
    await _take(ctx, id, check(body))
    return Queued(id)


async def _take(ctx: Context, id: ID, letter: Letter) -> None:
    from hansa.platform.mail.api.sending import send  # it needs what is here

    await ctx.db.insert(
        tables.messages, id=id, subject=letter.subject, letter=letter, state="waiting", tries=0,
        at=ctx.now, next_at=ctx.now, changed_at=ctx.now,
    )  # fmt: skip
    await ctx.db.insert_all(tables.recipients, [
        {"message_id": id, "address": one, "state": "waiting", "code": 0, "reply": "",
         "changed_at": ctx.now}
        for one in rules.recipients_of(letter)
    ])  # fmt: skip
    ctx.schedule(send, at=ctx.now, id=f"mail:{id}", message=id)


@service.query("GET /messages", needs="mail.messages:read")
async def list_messages(
    ctx: Context, page: PageRequest, state: State | None = None
) -> Page[Message]:
    """List the site's mail, the newest first."""
    found: Page[Message]
    if state is None:
        found = await ctx.db.page(_shown, Message, page, order=(_m.id.desc(),))
    else:
        found = await ctx.db.page(_in_state, Message, page, order=(_m.id.desc(),), state=state)
    return found


@service.query("GET /messages/{id}", needs="mail.messages:read")
async def get_message(ctx: Context, id: ID) -> MessageSeen:
    """Return a message, all that is in it, and what became of it. Raises NotFound.

    Its HTML is a stranger's: show it in a sandboxed frame only.
    """
    found = await find_message(ctx, id)
    inside = await ctx.db.one(_letter, _Inside, id=id)
    return MessageSeen(found, inside.letter, await ctx.db.all(_to_whom, Recipient, id=id))


async def find_message(ctx: Context, id: ID) -> Message:
    """Return a message. Raises NotFound."""
    found = await ctx.db.first(_by_id, Message, id=id)
    if found is None:
        raise NotFound(f"There is no message {id[:64]} on this site.")
    return found


@service.command("POST /messages/{id}/retry", needs="mail.messages:write", status=202)
async def retry_mail(ctx: Context, id: ID) -> Queued:
    """Send a message again to those who have not got it, now. Raises NotFound, and Conflict
    (`mail-sent`) where everybody has."""
    from hansa.platform.mail.api.sending import send

    found = await find_message(ctx, id)
    if found.state == "sent":
        raise Conflict("Every recipient's server has taken this mail.", slug="mail-sent")
    if found.state != "sending":
        await ctx.db.run(_again, id=id)
        await ctx.db.update(
            tables.messages, id, state="waiting", tries=0, next_at=ctx.now, changed_at=ctx.now
        )
        ctx.schedule(send, at=ctx.now, id=f"mail:{id}", message=id)
    return Queued(id)
