"""Streams: what flows between services, one line for each two of them. Pure."""

from collections.abc import Iterable

from hansa.kernel.observe.flow import ANY, Edge
from hansa.kernel.structs import Struct


class Stream(Struct):
    """What goes from one service to another: calls, or events."""

    origin: str
    target: str
    is_call: bool
    edges: list[Edge]
    count: int
    """How often it was seen."""


def streams(edges: Iterable[Edge]) -> list[Stream]:
    """Return edges by the two services that they are between, by name, calls before events."""
    found: dict[tuple[str, str, bool], list[Edge]] = {}
    for edge in edges:
        origin = "every service" if edge.origin == ANY else edge.origin
        found.setdefault((origin, edge.target, not edge.is_call), []).append(edge)
    return [
        Stream(origin, target, not is_event, own, sum(edge.count for edge in own))
        for (origin, target, is_event), own in sorted(found.items())
    ]
