"""Streams: what flows between services, one line for each two of them. Pure."""

from collections.abc import Iterable

import msgspec

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
    """Return edges by the two services that they are between, by name, calls before events. An
    event is as declared where its subscriber hears those of all services."""
    every = list(edges)
    of_all = {edge.target for edge in every if edge.origin == ANY}
    found: dict[tuple[str, str, bool], list[Edge]] = {}
    for edge in every:
        if not edge.is_call and edge.target in of_all:
            edge = msgspec.structs.replace(edge, declared=True)
        origin = "every service" if edge.origin == ANY else edge.origin
        found.setdefault((origin, edge.target, not edge.is_call), []).append(edge)
    return [
        Stream(origin, target, not is_event, own, sum(edge.count for edge in own))
        for (origin, target, is_event), own in sorted(found.items())
    ]
