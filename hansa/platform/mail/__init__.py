"""Mail leaves a site by SMTP; where none is set up it stays in a mailbox that people can look into.

A message is queued in the transaction of whoever wants it sent, and sent by due work until each
recipient's server has taken or refused it. It is owned by the platform team.

What must never happen here:
- mail that is queued and neither sent, bounced nor seen;
- a second mail with another Message-ID because a process died;
- a header, or a recipient, that a text brought in by its line breaks;
- a password that goes over a line that is not encrypted, or that can be read back.
"""

from hansa.kernel.service import Service

mail = Service("mail", owner="platform")
"""The service; its handlers are in `hansa.platform.mail.api`."""
