"""The names of what is stored: which event class stands for ``commerce.order_placed``.

What must never happen here: one name for two things, since rows are found again by their names.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hansa.kernel.structs import Event

if TYPE_CHECKING:
    from hansa.kernel.service import Service

_declared: "list[Service]" = []
_inside: "dict[str, list[Service]]" = {}
"""The services declared in each package or below it."""
_names: dict[type[Event], str] = {}


def remember(service: "Service") -> None:
    """Take note of a declared service, so that the events of its package find their name."""
    _declared.append(service)
    for package in _upwards(service.package):
        _inside.setdefault(package, []).append(service)


def declared() -> "Sequence[Service]":
    """Return all services that were declared in this process, in their order."""
    return tuple(_declared)


def declared_in(package: str) -> "Sequence[Service]":
    """Return the services that a package declares, or those below it."""
    return tuple(_inside.get(package, ()))


def _upwards(module: str) -> Iterator[str]:
    """Give the names of a module and of the packages around it, the nearest first."""
    while module:
        yield module
        module = module.rpartition(".")[0]


def _owner(event: type[Event]) -> "Service | None":
    """Return the service of the nearest package; of two in one module the later one."""
    for package in _upwards(event.__module__):
        for service in reversed(_inside.get(package, ())):
            if service.package == package:
                return service
    return None


def is_declared(event: type[Event]) -> bool:
    """Tell whether an event is declared in some service's package."""
    return _owner(event) is not None


def event_name(event: type[Event]) -> str:
    """Return the name of an event on the wire, ``commerce.order_placed``: that of the service
    whose package declares it and that of its class. Raises TypeError when there is no service."""
    name = _names.get(event)
    if name is not None:
        return name
    owner = _owner(event)
    if owner is None:
        raise TypeError(f"{event.__qualname__} is declared in no service's package")
    if not event.event_aggregate or event.event_aggregate not in event.__struct_fields__:
        raise TypeError(f"{event.__qualname__}: aggregate= must name one of its fields")
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", event.__name__).lower()
    name = f"{owner.name}.{snake}"
    if owner.events.setdefault(name, event) is not event:
        raise TypeError(f"{name} is declared by two classes")
    _names[event] = name
    return name
