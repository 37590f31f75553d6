"""Site limits: what one site may take of the processes that serve it, and what it grants in turn.

Rates protect the long run, so their bursts are large: a thousand buyers may come at the same
moment. What protects the moment is fairness (modules `turns`, `due_turns`) and the count of
requests under way.
"""

from functools import cached_property
from math import ceil
from typing import Annotated, Final

from msgspec import Meta

from hansa.kernel.rate import Rate
from hansa.kernel.structs import Struct


class SiteLimits(Struct, dict=True):
    """The limits of a site. Operators set them; what is left out is the default."""

    site: Rate = Rate(1_000, 10_000)
    """Of all requests to the site together, but for those of operators."""
    key: Rate = Rate(500, 5_000)
    """Of each API key."""
    address: Rate = Rate(10, 100)
    """Of what visitors without a key write, by the address that they come from."""
    at_once: Annotated[int, Meta(ge=1, le=100_000)] = 1536
    """Requests under way in one process. More than half of what a process takes is never to be
    had (`http.limits.Limits`)."""
    reads: Rate = Rate(500, 5_000)
    """Of what visitors without a key read, by the address that they come from."""

    @cached_property
    def policy_of_key(self) -> str:
        """The quota policies that hold for a key of the site, as RateLimit-Policy tells them."""
        return f"{told('key', self.key)}, {told('site', self.site)}"

    @cached_property
    def policy_of_operator(self) -> str:
        """The quota policy that holds for an operator's key."""
        return told("key", self.key)

    @cached_property
    def policy_of_address(self) -> str:
        """The quota policy that holds for what a visitor writes."""
        return told("address", self.address)

    @cached_property
    def policy_of_reads(self) -> str:
        """The quota policy that holds for what a visitor reads."""
        return told("address", self.reads)

    @cached_property
    def policy_of_site(self) -> str:
        """The quota policy of the whole site, told to visitors when it is exceeded."""
        return told("site", self.site)


def told(name: str, rate: Rate) -> str:
    """Return a quota policy item: its quota, and the seconds in which that is whole again."""
    return f'"{name}";q={rate.burst};w={ceil(rate.window_s)}'


DEFAULT_LIMITS: Final = SiteLimits()
