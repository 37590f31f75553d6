"""A site as the kernel knows it, and the seam to whoever keeps the sites."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Protocol

from hansa.kernel.site_limits import DEFAULT_LIMITS, SiteLimits
from hansa.kernel.storage import PLATFORM

if TYPE_CHECKING:
    from hansa.kernel.caller import Caller

SLOTS: Final = 4096
EPOCH_FIRST: Final = 1


def slot_of(site: str) -> int:
    """Return the site's slot of the log, 0 to 4095: by hash, so that no table is needed."""
    return int.from_bytes(blake2b(site.encode(), digest_size=8).digest()) % SLOTS


@dataclass(frozen=True, slots=True)
class SiteInfo:
    """What a handler may know of its site without a statement."""

    id: str
    slot: int
    epoch: int = EPOCH_FIRST
    name: str = ""
    state: str = "active"
    locale: str = "en"
    currency: str = "EUR"
    zone: str = "UTC"
    test_clock: bool = False
    limits: SiteLimits = DEFAULT_LIMITS
    cell: str = ""
    """Where its rows are, of the cells that serve the same services; "" is the first of them."""


PLATFORM_SITE: Final = SiteInfo(PLATFORM, slot_of(PLATFORM), name="platform")


class SiteDirectory(Protocol):
    """Who tells the kernel which sites there are and who knocks."""

    async def by_id(self, site: str) -> SiteInfo | None:
        """Return a site, None when there is none of that id."""
        ...

    async def authenticate(self, authorization: str, host: str, site: str) -> "Caller":
        """Return who calls which site, by the headers Authorization, Host and Hansa-Site (each may
        be empty). Raises Unauthenticated, Denied or NotFound; unknown callers are public ones."""
        ...

    def forget(self, site: str) -> None:
        """Read anew what is known of a site: it has moved."""
        ...

    async def zones(self) -> Sequence[str]:
        """Return the time zones of all active sites on the real clock."""
        ...

    async def in_zone(self, zone: str, after: str, limit: int) -> Sequence[SiteInfo]:
        """Return active sites of a zone on the real clock, by id, after the site `after`."""
        ...
