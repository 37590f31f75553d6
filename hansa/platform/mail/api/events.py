"""What becomes of mail. The aggregate is the message; its content and recipients stay here."""

from hansa.kernel.ids import ID
from hansa.kernel.structs import Event


class MailSent(Event, aggregate="id"):
    """Each recipient's server, or the mailbox, has taken a message."""

    id: ID


class MailBounced(Event, aggregate="id"):
    """Some recipients' servers have refused a message for good, or did not take it for days."""

    id: ID
    recipients: int
    bounced: int
