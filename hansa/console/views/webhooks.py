"""Webhooks: where a site's events are sent, each attempt at it, and sending them again."""

from typing import Any, Final

from starlette.responses import Response

from hansa.console.having import sites_having
from hansa.console.visit import Visit
from hansa.console.wording import pretty
from hansa.kernel.problems import Invalid
from hansa.kernel.structs import PageRequest

STATES: Final = ("", "queued", "waiting", "sending", "delivered", "failed", "skipped")


async def every(visit: Visit) -> Response:
    """Show the endpoints of a site; of the first that has some."""
    chosen, known = await sites_having(visit, "webhooks_endpoints")
    endpoints: Any = await visit.ask("webhooks.list_endpoints", chosen) if chosen else []
    return visit.page("webhooks.html", site=chosen, sites=known, endpoints=endpoints)


async def endpoint(visit: Visit) -> Response:
    """Show an endpoint and what was sent there, the newest first. Raises NotFound."""
    site, id, state = visit.place("site"), visit.place("endpoint"), visit.asked("state")
    if state not in STATES:
        raise Invalid(f"state is one of {', '.join(STATES[1:])}.")
    page = PageRequest(50, visit.asked("cursor", letters_max=1000) or None)
    return visit.page(
        "endpoint.html", site=site, state=state, states=STATES,
        endpoint=await visit.ask("webhooks.get_endpoint", site, id=id),
        deliveries=await visit.ask(
            "webhooks.list_deliveries", site, endpoint=id, page=page, state=state or None
        ),
    )  # fmt: skip


async def delivery(visit: Visit) -> Response:
    """Show a message with each attempt to deliver it. Raises NotFound."""
    site, id, number = visit.place("site"), visit.place("endpoint"), visit.place_number("number")
    seen = await visit.ask("webhooks.get_delivery", site, endpoint=id, number=number)
    return visit.page(
        "webhook.html", site=site, endpoint=id, seen=seen, body=pretty(bytes(seen.body))
    )


async def replay(visit: Visit) -> Response:
    """Send one message again."""
    number = visit.place_number("number")
    await visit.ask(
        "webhooks.replay", visit.place("site"), endpoint=visit.place("endpoint"),
        body={"first": number, "last": number},
    )  # fmt: skip
    return _back(visit)


async def skip(visit: Visit) -> Response:
    """Do not send a message."""
    await visit.ask(
        "webhooks.skip", visit.place("site"), endpoint=visit.place("endpoint"),
        number=visit.place_number("number"),
    )  # fmt: skip
    return _back(visit)


def _back(visit: Visit) -> Response:
    places = (visit.place("site"), visit.place("endpoint"), visit.place("number"))
    return visit.back("/webhooks/{}/{}/{}".format(*places))
