"""Flow: which services ask which and take events of which, as declared and as it was seen. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from hansa.kernel import catalog
from hansa.kernel.operation import Operation
from hansa.kernel.service import Service, heard_in, origin_of
from hansa.kernel.structs import Struct

ANY: Final = "*"
"""Where an edge comes from that is for the events of all services."""
_FUNCTIONS: Final = ("fn", "prepare_fn", "outside_fn", "settle_fn", "serial_by")


class Edge(Struct):
    """One service asks another, or takes its events."""

    origin: str
    """Who asks, or whose event it is; `ANY` for the events of all."""
    target: str
    """Who is asked, or who takes the event."""
    what: str
    """The operation that is called, or the event that is taken; "" for all events."""
    declared: bool
    """Whether the code of the services that are known here says so."""
    count: int
    """How often it was seen."""

    @property
    def is_call(self) -> bool:
        """Tell a call from an event."""
        return self.origin != self.target and self.what.startswith(f"{self.target}.")


def declared(services: Iterable[Service]) -> list[Edge]:
    """Return the edges that the code says: of each subscription, and of each operation of another
    service that a handler's code names, by itself or through functions of its own service."""
    found: dict[tuple[str, str, str], None] = {}
    services = tuple(services)
    for one in heard_in(services):
        event = "" if one.event is None else catalog.event_name(one.event)
        found[origin_of(one) or ANY, one.service, event] = None
    for service in services:
        for function in _handlers(service):
            for operation in _named(function, service.package, set()):
                if operation.service != service.name:
                    found[service.name, operation.service, operation.id] = None
    return [Edge(*names, declared=True, count=0) for names in sorted(found)]


def joined(known: Iterable[Edge], seen: Mapping[tuple[str, str, str], int]) -> list[Edge]:
    """Return declared edges with how often each was seen, and those that were seen only."""
    names = {(one.origin, one.target, one.what) for one in known}
    return [
        Edge(*name, declared=name in names, count=seen.get(name, 0))
        for name in sorted(names | set(seen))
    ]


def _handlers(service: Service) -> Iterator[Callable[..., Any]]:
    handlers: list[Any] = [
        *service.operations.values(), *service.subscriptions, *service.due_work.values(),
        *service.schedules,
    ]  # fmt: skip
    for handler in handlers:
        for name in _FUNCTIONS:
            function = getattr(handler, name, None)
            if callable(function):
                yield function


def _named(
    function: Callable[..., Any], package: str, seen: set[CodeType]
) -> Iterator[Operation[..., Any]]:
    """Give the operations that a function's code names, and those of what it names in turn."""
    if not isinstance(function, FunctionType) or function.__code__ in seen:
        return
    seen.add(function.__code__)
    for value in _globals(function.__code__, function.__globals__):
        if isinstance(value, Operation):
            yield value
        elif isinstance(value, FunctionType) and _is_inside(value.__module__, package):
            yield from _named(value, package, seen)


def _globals(code: CodeType, known: Mapping[str, Any]) -> Iterator[Any]:
    """Give the global values that code names, also by `module.name`, and of code within it."""
    for name in code.co_names:
        value = known.get(name)
        if isinstance(value, ModuleType):
            yield from (vars(value)[one] for one in code.co_names if one in vars(value))
        elif value is not None:
            yield value
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant, known)


def _is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
