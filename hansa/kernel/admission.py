"""Admission: may this principal run this operation at all? Pure.

What must never happen here: a key of a site that opens something of the platform.
"""

from typing import Any

from hansa.kernel.caller import Principal
from hansa.kernel.operation import DENIED, INTERNAL, PUBLIC, Operation
from hansa.kernel.problems import Denied, Unauthenticated
from hansa.kernel.storage import PLATFORM


def admit(operation: Operation[..., Any], principal: Principal) -> None:
    """Check a permission. Raises Unauthenticated for nobody, Denied for who may not."""
    needs = operation.needs
    if needs is PUBLIC:
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
