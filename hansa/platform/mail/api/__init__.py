"""What others may use of mail: queueing it, the mailbox, a site's server, and the events."""

from typing import Any, cast

from hansa.platform.mail.api.events import MailBounced, MailSent
from hansa.platform.mail.api.messages import (
    Message,
    MessageSeen,
    Queued,
    Recipient,
    get_message,
    list_messages,
    queue_mail,
    retry_mail,
    send_mail,
)
from hansa.platform.mail.api.sending import forget, send
from hansa.platform.mail.carrying import Mailer, Smtp, parse_server
from hansa.platform.mail.letter import Letter
from hansa.platform.sites.api import Setting, setting

SMTP: Setting[Smtp | None] = setting(
    "mail.smtp", cast(Any, Smtp | None), None, "The server that takes the site's mail.", secret=True
)
"""The server of a site, which operators set; without one, mail goes to the platform's."""

__all__ = [
    "SMTP",
    "Letter",
    "MailBounced",
    "MailSent",
    "Mailer",
    "Message",
    "MessageSeen",
    "Queued",
    "Recipient",
    "Smtp",
    "forget",
    "get_message",
    "list_messages",
    "parse_server",
    "queue_mail",
    "retry_mail",
    "send",
    "send_mail",
]
