"""Who calls, and which site.

What must never happen here: a permission that nobody gave. A principal is a value, so nothing that
runs on its behalf can widen it.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from hansa.kernel.site_limits import DEFAULT_LIMITS, SiteLimits
from hansa.kernel.storage import PLATFORM


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody that a request is made by.

    `id` names it in the log, `home` is the site that it belongs to (or the platform), and
    `permissions` are exact names (``commerce.products:write``) or wildcards: ``commerce.*``, ``*``.
    `grant` is what its bearer was signed with beside that, for the service that signed it.
    `address` is where somebody without a key of their own comes from (of IPv6 the network of 64
    bits), "" where that cannot be known; it is in no row and in no log.
    """

    id: str
    permissions: frozenset[str]
    kind: Literal["key", "public", "system"]
    home: str
    grant: str = ""
    address: str = field(default="", compare=False, repr=False)

    @property
    def is_stranger(self) -> bool:
        """Whether it has no key, or one that a site hands out to whoever comes."""
        return self.kind == "public" or bool(self.grant)

    @property
    def is_engineer(self) -> bool:
        """Whether it is a key of the platform, held by who runs it."""
        return self.kind == "key" and self.home == PLATFORM

    def allows(self, permission: str) -> bool:
        """Tell whether the principal has a permission: by its name, or by a wildcard that ends
        where a part of the name does. Kind "system" has every permission."""
        granted = self.permissions
        if permission in granted or self.kind == "system" or "*" in granted:
            return True
        for position, character in enumerate(permission):
            if character in ".:" and permission[: position + 1] + "*" in granted:
                return True
        return False


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal knocking at one site; the site is its id, or that of the platform. `limits` are
    those of the site, for whoever lets callers in from outside."""

    site: str
    principal: Principal
    limits: SiteLimits = field(default=DEFAULT_LIMITS, compare=False)

    def at(self, address: str) -> "Caller":
        """Return the caller as somebody who comes from an address."""
        who = self.principal
        known = Principal(who.id, who.permissions, who.kind, who.home, who.grant, address)
        return Caller(self.site, known, self.limits)


PUBLIC_PRINCIPAL: Final = Principal("public", frozenset(), "public", PLATFORM)
"""Anybody without a key."""
SYSTEM: Final = Principal("system", frozenset({"*"}), "system", PLATFORM)
"""The kernel itself: subscribers, due work and schedules run as it."""
