"""Services: why each exists, who owns it, what it offers, and what flows between them."""

from starlette.responses import Response

from hansa.console.streams import streams
from hansa.console.visit import Visit
from hansa.kernel.catalog import event_name
from hansa.kernel.observe.flow import declared, joined
from hansa.kernel.problems import NotFound
from hansa.kernel.service import heard_in


async def every(visit: Visit) -> Response:
    """Show all services, and what flows between them: as declared, and as it was seen."""
    services = visit.runtime.services
    seen = await visit.records.read(lambda reader: reader.flow())
    edges = joined(declared(services), seen)
    return visit.page("services.html", services=services, streams=streams(edges))


async def one(visit: Visit) -> Response:
    """Show one service with all that it declares. Raises NotFound."""
    name = visit.place("name")
    services = visit.runtime.services
    for service in services:
        if service.name == name:
            hearers: dict[str, list[str]] = {}
            every = heard_in(services)
            for heard in every:
                if heard.event is not None:
                    hearers.setdefault(event_name(heard.event), []).append(heard.name)
            hears = [
                (own.name, "" if own.event is None else event_name(own.event))
                for own in every
                if own.service == name
            ]
            rates = await visit.records.read(lambda reader: reader.operations())
            return visit.page(
                "service.html", service=service, hearers=hearers, heard=hears,
                rates={rate.name: rate for rate in rates},
            )  # fmt: skip
    raise NotFound(f"No service here is called {name[:40]}.")
