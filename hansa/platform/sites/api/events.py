"""What happens to sites. Each event's aggregate is its site; no secret ever stands in one."""

from datetime import datetime

from hansa.kernel.ids import ID
from hansa.kernel.structs import Event


class SiteCreated(Event, aggregate="id"):
    """A site is there."""

    id: ID
    name: str
    state: str
    locale: str
    currency: str
    zone: str
    test_clock: bool


class SiteChanged(Event, aggregate="id"):
    """A site's name, state or ways changed; all of them as they are now."""

    id: ID
    name: str
    state: str
    locale: str
    currency: str
    zone: str


class SiteMoved(Event, aggregate="id"):
    """A site's rows are in another cell now. The epoch rises with each move."""

    id: ID
    cell: str
    epoch: int


class HostAdded(Event, aggregate="site"):
    """A site is reached under one more host."""

    site: ID
    host: str


class HostRemoved(Event, aggregate="site"):
    """A site is not reached under a host any more."""

    site: ID
    host: str


class KeyCreated(Event, aggregate="site"):
    """Somebody may act on a site, or on the platform where `site` is that."""

    site: ID
    key: ID
    permissions: tuple[str, ...]
    expires_at: datetime | None


class KeyRevoked(Event, aggregate="site"):
    """A key is no good any more."""

    site: ID
    key: ID


class SettingChanged(Event, aggregate="site"):
    """A setting of a site was set or reset; read it to know to what."""

    site: ID
    name: str
