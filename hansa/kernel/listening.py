"""Listening: which sites a subscriber to all events hears; the others cost it nothing.

What must never happen here: an event that stands behind a site's first listener, unheard.
"""

from typing import TYPE_CHECKING

from hansa.kernel.catalog import event_name
from hansa.kernel.commands import deadline_in
from hansa.kernel.log import LogEvent
from hansa.kernel.storage import PLATFORM, Session

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime
    from hansa.kernel.service import Subscription


class Listening:
    """A subscriber to all events of some sites. Which sites these are, the log itself tells: no
    event that follows a site's first one of `opened_by` is missed, in whichever process."""

    def __init__(self, subscription: "Subscription") -> None:
        if subscription.listeners is None or subscription.opened_by is None:
            raise TypeError(f"{subscription.name}: it listens to nobody")
        self.subscription = subscription
        self._table = subscription.listeners.name
        self._opened_by = event_name(subscription.opened_by)
        self._sites: set[str] = set()

    async def load(self, runtime: "Runtime") -> None:
        """Read for which sites there are listeners already."""

        async def body(session: Session) -> set[str]:
            rows = await session.fetch(f"SELECT DISTINCT site FROM {self._table}")
            return {row[0] for row in rows}

        self._sites = await runtime.storage.read(
            body, site=PLATFORM, deadline=deadline_in(30), across=True
        )

    def hears(self, event: LogEvent) -> bool:
        """Tell whether an event is of a listened site. A site whose last listener has gone is
        listened to until the process starts again."""
        if event.type == self._opened_by:
            self._sites.add(event.site)
        return event.site in self._sites
