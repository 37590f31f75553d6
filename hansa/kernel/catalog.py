"""The names of what is stored: which event class stands for ``commerce.order_placed``.

What must never happen here: one name for two things, since rows are found again by their names.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hansa.kernel.structs import Event

if TYPE_CHECKING:
    from hansa.kernel.service import Service

_declared: "list[Service]" = []
_names: dict[type[Event], str] = {}


def remember(service: "Service") -> None:
    """Take note of a declared service, so that the events of its package find their name."""
    _declared.append(service)


def declared() -> "Sequence[Service]":
    """Return all services that were declared in this process, in their order."""
    return tuple(_declared)


def event_name(event: type[Event]) -> str:
    """Return the name of an event on the wire, ``commerce.order_placed``: that of the service
    whose package declares it and that of its class. Raises TypeError when there is no service."""
    name = _names.get(event)
    if name is not None:
        return name
    owners = [
        service
        for service in _declared
        if event.__module__ == service.package or event.__module__.startswith(service.package + ".")
    ]
    if not owners:
        raise TypeError(f"{event.__qualname__} is declared in no service's package")
    if not event.event_aggregate or event.event_aggregate not in event.__struct_fields__:
        raise TypeError(f"{event.__qualname__}: aggregate= must name one of its fields")
    # The nearest package wins, and of two services in one module the later one.
    owner = max(reversed(owners), key=lambda service: len(service.package))
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", event.__name__).lower()
    name = f"{owner.name}.{snake}"
    if owner.events.setdefault(name, event) is not event:
        raise TypeError(f"{name} is declared by two classes")
    _names[event] = name
    return name
