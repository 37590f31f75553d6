"""Hosts: under which names a site is reached."""

from datetime import datetime

from hansa.kernel.compiler import delete, param, select
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.problems import Fault, NotFound, Unprocessable
from hansa.kernel.structs import Page, PageRequest, Struct
from hansa.platform.sites import sites as service
from hansa.platform.sites import tables
from hansa.platform.sites.api.events import HostAdded, HostRemoved
from hansa.platform.sites.api.sites import find_site
from hansa.platform.sites.hosts import check_host, host_of_header
from hansa.platform.sites.process import directory_of


class NewHost(Struct):
    """A host to be added, in any spelling: it is kept in lower case and ASCII form."""

    host: str


class Host(Struct):
    """A name under which a site is reached."""

    host: str
    created_at: datetime


class SiteHost(Struct):
    """A host, and the site that it leads to."""

    host: str
    site: ID
    created_at: datetime


_every = select(
    tables.hosts.c.host, tables.hosts.c.site_id.label("site"), tables.hosts.c.created_at
)
_one = _every.where(tables.hosts.c.host == param("host"))
_of_site = select(tables.hosts.c.host, tables.hosts.c.created_at).where(
    tables.hosts.c.site_id == param("site_id")
)
_remove = delete(tables.hosts).where(
    tables.hosts.c.host == param("host"), tables.hosts.c.site_id == param("site_id")
)


@service.command("POST /{site}/hosts", needs="platform.sites:write", scope="platform", status=201)
async def add_host(ctx: Context, site: ID, body: NewHost) -> Host:
    """Have a site reached under a host.

    Raises NotFound, Unprocessable for what is no host name, and Conflict when a site has it.
    """
    await find_site(ctx, site)
    try:
        host = Host(check_host(body.host), ctx.now)
    except ValueError as error:
        raise Unprocessable("The host is refused.", errors=(Fault("/host", str(error)),)) from None
    directory_of(ctx).changing(host.host)
    await ctx.db.insert(tables.hosts, host, site_id=site)
    ctx.emit(HostAdded(site, host.host))
    return host


@service.query("GET /{site}/hosts", needs="platform.sites:read", scope="platform")
async def list_hosts(ctx: Context, site: ID, page: PageRequest) -> Page[Host]:
    """List a site's hosts by name. Raises NotFound."""
    await find_site(ctx, site)
    found: Page[Host] = await ctx.db.page(
        _of_site, Host, page, order=(tables.hosts.c.host,), site_id=site
    )
    return found


@service.query("GET /hosts", needs="platform.sites:read", scope="platform")
async def find_hosts(ctx: Context, page: PageRequest, host: str | None = None) -> Page[SiteHost]:
    """List the hosts of all sites by name, or find the site of one: `host` in any spelling, with a
    port or without. One that leads nowhere is no fault; nothing is listed."""
    if host is None:
        found: Page[SiteHost] = await ctx.db.page(
            _every, SiteHost, page, order=(tables.hosts.c.host,)
        )
        return found
    led = await ctx.db.first(_one, SiteHost, host=_looked_up(host))
    return Page(() if led is None else (led,))


def _looked_up(text: str) -> str:
    try:
        return check_host(text)
    except ValueError:  # with a port, or an address of this machine
        return host_of_header(text)


@service.command(
    "DELETE /{site}/hosts/{host}", needs="platform.sites:write", scope="platform", status=204
)
async def remove_host(ctx: Context, site: ID, host: str) -> None:
    """Have a site not reached under a host any more. Raises NotFound."""
    directory_of(ctx).changing(host)
    if await ctx.db.run(_remove, host=host, site_id=site) == 0:
        raise NotFound(f"The site has no host {host}.")
    ctx.emit(HostRemoved(site, host))
