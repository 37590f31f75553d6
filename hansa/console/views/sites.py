"""Sites: which there are, how they are reached, what is set for them, and their clocks."""

from datetime import timedelta

from starlette.responses import Response

from hansa.console.visit import Visit
from hansa.kernel.problems import Invalid, NotFound
from hansa.kernel.storage import PLATFORM
from hansa.kernel.structs import PageRequest
from hansa.platform.sites import api as sites

STEPS = {"an hour": timedelta(hours=1), "a day": timedelta(days=1), "30 days": timedelta(days=30)}
"""How far a test clock is moved by a button."""

_BY_HOST = "SELECT site_id FROM sites_hosts WHERE host = ?1"


async def every(visit: Visit) -> Response:
    """Show all sites, or go to the one that an id or a host leads to."""
    wanted = visit.asked("find").strip().lower()
    if wanted:
        found = await visit.directory.by_host(wanted) or await visit.directory.by_id(wanted)
        if found is None or found.id == PLATFORM:
            raise NotFound(f"No site has the id or the host {wanted[:80]}.")
        return visit.back(f"/sites/{found.id}")
    request = PageRequest(50, visit.asked("cursor", letters_max=1000) or None)
    found_sites = await visit.do(sites.list_sites, PLATFORM, page=request)
    return visit.page("sites.html", sites=found_sites.items, next=found_sites.next or "")


async def one(visit: Visit) -> Response:
    """Show a site. Raises NotFound."""
    id = visit.place("site")
    site = await visit.do(sites.get_site, PLATFORM, site=id)
    first = PageRequest(100)
    return visit.page(
        "site.html", site=site, info=await visit.runtime.site(id), steps=STEPS,
        hosts=await visit.do(sites.list_hosts, PLATFORM, site=id, page=first),
        keys=await visit.do(sites.list_keys, PLATFORM, site=id, page=first),
        settings=await visit.do(sites.list_settings, PLATFORM, site=id),
        clock=await visit.do(sites.get_clock, PLATFORM, site=id) if site.test_clock else None,
        has_mail=visit.runtime.serves("mail"),
        has_webhooks=visit.runtime.serves("webhooks"),
    )  # fmt: skip


async def advance(visit: Visit) -> Response:
    """Move a site's test clock a step forward. Raises Invalid for another step."""
    site, step = visit.place("site"), STEPS.get(visit.sent("step"))
    if step is None:
        raise Invalid(f"A step is {', '.join(STEPS)}.")
    clock = await visit.do(sites.get_clock, PLATFORM, site=site)
    body = {"to": clock.now + step}
    await visit.ask("sites.advance_clock", PLATFORM, site=site, body=body)
    return visit.back(f"/sites/{site}")
