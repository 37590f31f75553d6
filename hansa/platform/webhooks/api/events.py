"""What happens to endpoints. The aggregate is the endpoint; no secret ever stands in one."""

from hansa.kernel.ids import ID
from hansa.kernel.structs import Event


class EndpointCreated(Event, aggregate="id"):
    """A site has one more endpoint; it wants what stands in the log behind this."""

    id: ID
    url: str
    events: tuple[str, ...]


class EndpointChanged(Event, aggregate="id"):
    """An endpoint's address, wishes or state changed; all of them as they are now."""

    id: ID
    url: str
    events: tuple[str, ...]
    state: str


class EndpointDisabled(Event, aggregate="id"):
    """An endpoint is sent nothing any more, since it took nothing for long or said that it is gone.
    Nothing is lost: what it wants is kept for it, and sent when it is made active again."""

    id: ID
    url: str
    reason: str


class EndpointRemoved(Event, aggregate="id"):
    """An endpoint is gone, and with it what was kept for it."""

    id: ID
