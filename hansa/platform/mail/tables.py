"""What is kept of mail: each message, and what became of it at each of its recipients."""

from hansa.kernel.columns import enum, instant, integer, json, text
from hansa.platform.mail import mail as service

messages = service.table(
    "messages",
    text("subject"),
    json("letter"),
    # `kept` stays in the mailbox, since there is no server for it.
    enum("state", ("waiting", "sending", "sent", "bounced", "kept")),
    integer("tries"),  # since it was queued, or tried again by hand
    instant("at"),  # its Date
    instant("next_at"),
    instant("changed_at"),
    prefix="mail",
    index=[("state", "id"), ("at", "id")],
)

recipients = service.table(
    "recipients",
    text("message_id", primary=True),
    text("address", primary=True),
    enum("state", ("waiting", "sent", "bounced", "kept")),
    integer("code"),  # what the server said last, 0 where it was not reached
    text("reply"),
    instant("changed_at"),
    foreign=[("message_id", messages)],
    index=[("address", "message_id")],
)
