"""Webhooks tell a site's other systems what happened, by Standard Webhooks, in order per object.

An endpoint is an address that wants some of a site's events. Each event is kept as a message, sent
to every endpoint that wants it until it is taken, and can be read again from the endpoint's feed.
It is owned by the platform team.

What must never happen here:
- an event that an endpoint wants and never gets to see, while it is kept;
- a later event of an object before an earlier one that is still to be tried;
- a request to an address inside, whatever a name resolves to and whoever owns it;
- a signing secret that can be read back, or a transaction that waits for somebody's server.
"""

from hansa.kernel.service import Service

webhooks = Service("webhooks", owner="platform")
"""The service; its handlers are in `hansa.platform.webhooks.api`."""
