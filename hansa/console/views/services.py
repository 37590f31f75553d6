"""Services: why each exists, who owns it, what it offers, and what flows between them."""

from starlette.responses import Response

from hansa.console.visit import Visit
from hansa.kernel.problems import NotFound


async def every(visit: Visit) -> Response:
    """Show all services."""
    return visit.page("services.html", services=visit.runtime.services)


async def one(visit: Visit) -> Response:
    """Show one service with all that it declares. Raises NotFound."""
    name = visit.place("name")
    for service in visit.runtime.services:
        if service.name == name:
            return visit.page("service.html", service=service)
    raise NotFound(f"No service here is called {name[:40]}.")
