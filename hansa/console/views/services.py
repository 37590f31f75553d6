"""Services: why each exists, who owns it, what it offers, and what flows between them."""

from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from hansa.console.visit import Visit
from hansa.kernel.catalog import event_name
from hansa.kernel.problems import NotFound
from hansa.kernel.service import Service


async def every(visit: Visit) -> Response:
    """Show all services, and the events that flow between them."""
    services = visit.runtime.services
    return visit.page("services.html", services=services, flow=_flow(services))


async def one(visit: Visit) -> Response:
    """Show one service with all that it declares. Raises NotFound."""
    name = visit.place("name")
    services = visit.runtime.services
    for service in services:
        if service.name == name:
            hearers: dict[str, list[str]] = {}
            for other in services:
                for heard in other.subscriptions:
                    if heard.event is not None:
                        hearers.setdefault(event_name(heard.event), []).append(heard.name)
            hears = [
                (own.name, "" if own.event is None else event_name(own.event))
                for own in service.subscriptions
            ]
            return visit.page("service.html", service=service, hearers=hearers, heard=hears)
    raise NotFound(f"No service here is called {name[:40]}.")


def _flow(services: Iterable[Service]) -> list[dict[str, Any]]:
    """Return who hears which service, with the events."""
    found: dict[tuple[str, str], list[str]] = {}
    for service in services:
        for one in service.subscriptions:
            event = "" if one.event is None else event_name(one.event)
            origin = event.partition(".")[0] or "every service"
            found.setdefault((origin, service.name), []).append(event)
    return [
        {"origin": origin, "target": target, "events": sorted(set(events))}
        for (origin, target), events in sorted(found.items())
    ]
