"""Admission: may this principal run this operation, and on that site? Pure.

What must never happen here: a key of a site that opens something of the platform.
"""

from typing import Any

from hansa.kernel.caller import Caller, Principal
from hansa.kernel.operation import DENIED, INTERNAL, PUBLIC, Operation
from hansa.kernel.problems import Denied, Invalid, NotFound, Unauthenticated
from hansa.kernel.shedding import Priority
from hansa.kernel.site import SiteInfo
from hansa.kernel.storage import PLATFORM


def admit(operation: Operation[..., Any], principal: Principal) -> None:
    """Check a permission. Raises Unauthenticated for nobody, Denied for who may not."""
    needs = operation.needs
    if needs is PUBLIC:
        return
    if operation.scope == "site" and needs in principal.permissions:  # nearly always
        return
    if needs is DENIED or needs is INTERNAL:
        raise Denied(f"{operation.id} cannot be called from outside.")
    if operation.scope == "platform" and principal.home != PLATFORM:
        allowed = False
    else:
        allowed = principal.allows(str(needs))
    if not allowed:
        if principal.kind == "public":
            raise Unauthenticated(f"Send a key with the permission {needs}.")
        raise Denied(f"It takes the permission {needs}.")


def priority_of(operation: Operation[..., Any], principal: Principal) -> Priority:
    """Return how late a call is given up when there is more to do than can be done."""
    if principal.is_engineer:
        return Priority.VITAL
    return Priority.READ if operation.kind == "query" else Priority.COMMAND


def site_of(caller: Caller, info: SiteInfo | None) -> SiteInfo:
    """Return a call's site, `info` being what is known of the one that the caller means. Raises
    Invalid when none is meant, NotFound for one that is not there or not open to this caller."""
    if caller.site == PLATFORM:
        raise Invalid(
            "Nothing here says which site is meant. Ask at a host name of the site (an IP address"
            " is none), or send its id in the header Hansa-Site, or an API key of it.",
            slug="site-missing",
        )
    operator = caller.principal.home == PLATFORM and caller.principal.kind != "public"
    if info is None or info.state == "closed" or (info.state != "active" and not operator):
        raise NotFound("There is no such site.", slug="site-not-found")
    return info
