"""Limits: what one request may take, and how many there may be at once.

Requests over a limit are refused at once with 503 and Retry-After, not queued: a waiting request
already waits where order matters (in the storage's writer, by group), so a second queue in front
would only hide the load and let deadlines pass in it. The count for a site (`site_limits`) is high
enough that a thousand buyers of one item are served, and below half of that of the process, so that
one site never takes it all.
"""

from dataclasses import dataclass
from typing import Final

from hansa.kernel.problems import Overloaded


@dataclass(frozen=True, slots=True)
class Limits:
    """What is admitted. Counts are of requests in flight, sizes in bytes or characters."""

    site_requests_max: int = 2000
    """Of one site, whatever its own limit says: less than half of what the process takes."""
    process_requests_max: int = 4096
    buffered_bytes_max: int = 256 << 20
    """Bodies being read and held at once by all requests together."""
    path_length_max: int = 2048
    query_length_max: int = 8192
    query_values_max: int = 100
    body_depth_max: int = 32
    body_wait_s: float = 20.0
    """How long a body may take to arrive."""
    mount_body_bytes_max: int = 8 << 20
    """The largest body that a mounted application gets."""


KEPT_FREE: Final = 64
"""Places beside those for everybody: an engineer gets in when the process is full."""


class Gate:
    """Counts requests in flight and bytes held, and refuses what is over a limit."""

    __slots__ = ("buffered", "inside", "limits", "sites")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.inside = 0
        self.buffered = 0
        self.sites: dict[str, int] = {}

    def enter(self, more: int = 0) -> None:
        """Count a request; `more` may be under way than the limit says, for as long as it is not
        known who sends it. Raises Overloaded; only after a return `leave` is due."""
        if self.inside >= self.limits.process_requests_max + more:
            raise _full()
        self.inside += 1

    def leave(self) -> None:
        """Take back what `enter` counted."""
        self.inside -= 1

    def enter_site(self, site: str, at_once: int, vital: bool = False) -> None:
        """Count a request of a site that may have `at_once` under way. A vital one also takes the
        places that are kept free. Raises Overloaded; only after a return `leave_site` is due."""
        if self.inside > self.limits.process_requests_max and not vital:
            raise _full()
        count = self.sites.get(site, 0)
        if count >= at_once or count >= self.limits.site_requests_max:
            raise Overloaded("Too many requests at once for this site.", retry_after_s=1)
        self.sites[site] = count + 1

    def leave_site(self, site: str) -> None:
        """Take back what `enter_site` counted."""
        count = self.sites[site] - 1
        if count:
            self.sites[site] = count
        else:
            del self.sites[site]

    def hold(self, size: int) -> None:
        """Count bytes about to be read. Raises Overloaded; after a return `release` is due."""
        if self.buffered + size > self.limits.buffered_bytes_max:
            raise Overloaded("Too many large bodies at once here.", retry_after_s=1)
        self.buffered += size

    def release(self, size: int) -> None:
        """Take back what `hold` counted."""
        self.buffered -= size


def _full() -> Overloaded:
    return Overloaded("Too many requests at once here.", retry_after_s=1)
