"""Cells: the operations of one, here or through a server, and which of its sites is meant."""

from collections.abc import Iterable
from typing import Any, Final, Protocol, TypeVar

from hansa.assembly import OPERATOR, Cell
from hansa.cli.remote import Server
from hansa.kernel.ids import ID, is_id
from hansa.kernel.operation import Operation
from hansa.kernel.problems import Denied, Invalid, NotFound
from hansa.kernel.structs import Page, PageRequest
from hansa.platform.sites.api import Site, SiteHost, find_hosts, get_site, list_sites

T = TypeVar("T")

PAGE: Final = 100
SHOWN: Final = 20
"""How many sites are told to choose from."""
HOSTS_SHOWN: Final = 3


class Asked(Protocol):
    """What runs operations of the platform."""

    async def do(self, operation: Operation[..., T], **arguments: Any) -> T:
        """Run an operation and return its answer."""
        ...


class Local:
    """The operations in a cell of this process."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    async def do(self, operation: Operation[..., T], **arguments: Any) -> T:
        """Run an operation and return its answer."""
        return await self._cell.runtime.do(operation, OPERATOR, arguments)


class Through:
    """The same operations, through a server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def do(self, operation: Operation[..., T], **arguments: Any) -> T:
        """Run an operation and return its answer."""
        return await self._server.ask(operation, arguments)


async def every(cell: Asked, operation: Operation[..., Page[T]], **arguments: Any) -> list[T]:
    """Return all that a list has, page by page."""
    found: list[T] = []
    cursor: str | None = None
    while True:
        page = await cell.do(operation, page=PageRequest(PAGE, cursor), **arguments)
        found += page.items
        cursor = page.next
        if cursor is None:
            return found


async def hosts_of_sites(cell: Asked) -> dict[ID, list[str]]:
    """Return the hosts of every site that has some."""
    found: dict[ID, list[str]] = {}
    for one in await every(cell, find_hosts):
        found.setdefault(one.site, []).append(one.host)
    return found


async def one_site(cell: Asked, wanted: str) -> Site:
    """Return the site of an id, a host or a name; without one the only site there is. Raises
    NotFound, and Invalid with the sites to choose from."""
    if is_id(wanted, "site"):
        return await cell.do(get_site, site=wanted)
    if wanted:
        led: Page[SiteHost] = await cell.do(find_hosts, page=PageRequest(1), host=wanted)
        if led.items:
            return await cell.do(get_site, site=led.items[0].site)
    fitting = [
        one
        for one in await every(cell, list_sites)
        if (one.name == wanted if wanted else one.state != "closed")
    ]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise NotFound(
            f"There is no site {wanted or 'yet'}; `hansa sites create NAME` makes one, and"
            " `hansa sites list` tells which there are."
        )
    hosts = await hosts_of_sites(cell)
    several = "; ".join(f"{one.id} {named(one, hosts)}" for one in fitting[:SHOWN])
    more = f"; and {len(fitting) - SHOWN} more" if len(fitting) > SHOWN else ""
    raise Invalid(f"There are several sites; say which with --site: {several}{more}.")


def named(site: Site, hosts: dict[ID, list[str]]) -> str:
    """Return a site's name with its hosts."""
    return " ".join(filter(None, (site.name, shown(hosts.get(site.id, ())))))


def shown(hosts: Iterable[str]) -> str:
    """Return hosts as a person reads them, the first few of many."""
    names = list(hosts)
    more = f" and {len(names) - HOSTS_SHOWN} more" if len(names) > HOSTS_SHOWN else ""
    return f"({', '.join(names[:HOSTS_SHOWN])}{more})" if names else ""


async def aim(server: Server, wanted: str) -> None:
    """Have what a server is asked be about the site of an id, a host or a name; without one about
    that of the key, or the only one there is. Raises Problem and ServerUnusable."""
    site = wanted
    if not is_id(wanted, "site"):
        try:
            site = (await one_site(Through(server), wanted)).id
        except Denied:  # a key of one site, which needs no other word; or one that may not list
            if wanted:
                raise Denied(
                    f"This key may not look which site {wanted[:64]} is. Name its id, or leave"
                    " --site away where the key is that site's own."
                ) from None
            return
    server.site = site
