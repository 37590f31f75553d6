"""Sites: make them, list them, change them."""

from datetime import datetime
from typing import Final, Literal

from hansa.kernel.compiler import param, select
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.problems import NotFound
from hansa.kernel.site import EPOCH_FIRST, slot_of
from hansa.kernel.structs import Page, PageRequest, Struct
from hansa.platform.sites import sites as service
from hansa.platform.sites import tables
from hansa.platform.sites.api.events import HostAdded, SiteChanged, SiteCreated
from hansa.platform.sites.checking import Checks, text_up_to
from hansa.platform.sites.currencies import check_currency
from hansa.platform.sites.hosts import check_host
from hansa.platform.sites.locales import check_locale
from hansa.platform.sites.process import directory_of, start_test_clock
from hansa.platform.sites.zones import check_zone

State = Literal["active", "suspended", "closed"]

NAME_LETTERS_MAX: Final = 200
NEW_HOSTS_MAX: Final = 20

check_name = text_up_to(NAME_LETTERS_MAX)


class TestClock(Struct):
    """A clock of the site's own, which stands at `now` until it is told to advance. For trying
    things out: such a site is never a real one, and a real one never gets such a clock."""

    __test__ = False  # not a test, whatever its name

    now: datetime


class NewSite(Struct):
    """A site to be made. `hosts` may be added later too; `clock` cannot."""

    name: str
    locale: str = "en"
    currency: str = "EUR"
    zone: str = "UTC"
    hosts: tuple[str, ...] = ()
    clock: TestClock | None = None


class Site(Struct):
    """A site: a tenant with its language, its currency, and the time zone its calendar goes by."""

    id: ID
    name: str
    state: State
    locale: str
    currency: str
    zone: str
    test_clock: bool
    created_at: datetime
    changed_at: datetime


class SiteChange(Struct):
    """What is to change; what is left out stays as it is.

    A suspended site answers nobody but operators; a closed one is as if it were not there. The
    currency stays: prices, orders and payments are in it, and none of them can be converted.
    """

    name: str | None = None
    state: State | None = None
    locale: str | None = None
    zone: str | None = None


_shown = [
    tables.sites.c[name]
    for name in (
        "id", "name", "state", "locale", "currency", "zone", "test_clock", "created_at",
        "changed_at",
    )
]  # fmt: skip
_every = select(*_shown)
_by_id = select(*_shown).where(tables.sites.c.id == param("id"))


async def find_site(ctx: Context, site: ID) -> Site:
    """Return a site, for handlers of this service. Raises NotFound."""
    found = await ctx.db.first(_by_id, Site, id=site)
    if found is None:
        raise NotFound(f"There is no site {site[:64]}.")
    return found


@service.command("POST /", needs="platform.sites:write", scope="platform", status=201)
async def create_site(ctx: Context, body: NewSite) -> Site:
    """Make a site.

    Raises Unprocessable for values that are none, and Conflict for a host that another site has.
    """
    checks = Checks()
    site = Site(
        id=ctx.new_id("site"),
        name=checks.take("/name", check_name, body.name, ""),
        state="active",
        locale=checks.take("/locale", check_locale, body.locale, ""),
        currency=checks.take("/currency", check_currency, body.currency, ""),
        zone=checks.take("/zone", check_zone, body.zone, ""),
        test_clock=body.clock is not None,
        created_at=ctx.now,
        changed_at=ctx.now,
    )
    hosts = checks.take("/hosts", _check_new_hosts, body.hosts, body.hosts)
    if body.clock is not None:
        checks.take("/clock/now", check_aware, body.clock.now, ctx.now)
    checks.done()
    await ctx.db.insert(tables.sites, site, slot=slot_of(site.id), epoch=EPOCH_FIRST)
    for host in hosts:
        directory_of(ctx).changing(host)
        await ctx.db.insert(tables.hosts, host=host, site_id=site.id, created_at=ctx.now)
    if body.clock is not None:
        await start_test_clock(ctx, site.id, body.clock.now)
    ctx.emit(
        SiteCreated(
            site.id, site.name, site.state, site.locale, site.currency, site.zone, site.test_clock
        )
    )
    for host in hosts:
        ctx.emit(HostAdded(site.id, host))
    return site


def _check_new_hosts(texts: tuple[str, ...]) -> tuple[str, ...]:
    if len(texts) > NEW_HOSTS_MAX:
        raise ValueError(f"at most {NEW_HOSTS_MAX} hosts at once; add more later")
    return tuple(dict.fromkeys(check_host(text) for text in texts))


def check_aware(instant: datetime) -> datetime:
    """Return an instant that says its offset from UTC. Raises ValueError for one that does not,
    or is outside the years 1970 to 2999."""
    if instant.tzinfo is None:
        raise ValueError("an instant ends in Z or in an offset such as +01:00")
    if not 1970 <= instant.year < 3000:
        raise ValueError("an instant between the years 1970 and 2999")
    return instant


@service.query("GET /", needs="platform.sites:read", scope="platform")
async def list_sites(ctx: Context, page: PageRequest) -> Page[Site]:
    """List all sites, the oldest first."""
    found: Page[Site] = await ctx.db.page(_every, Site, page, order=(tables.sites.c.id,))
    return found


@service.query("GET /{site}", needs="platform.sites:read", scope="platform")
async def get_site(ctx: Context, site: ID) -> Site:
    """Return a site. Raises NotFound."""
    return await find_site(ctx, site)


@service.command("PATCH /{site}", needs="platform.sites:write", scope="platform")
async def change_site(ctx: Context, site: ID, body: SiteChange) -> Site:
    """Change a site. Raises NotFound, and Unprocessable for values that are none."""
    before = await find_site(ctx, site)
    checks = Checks()
    after = Site(
        id=before.id,
        name=before.name if body.name is None else checks.take("/name", check_name, body.name, ""),
        state=body.state or before.state,
        locale=before.locale
        if body.locale is None
        else checks.take("/locale", check_locale, body.locale, ""),
        currency=before.currency,
        zone=before.zone if body.zone is None else checks.take("/zone", check_zone, body.zone, ""),
        test_clock=before.test_clock,
        created_at=before.created_at,
        changed_at=ctx.now,
    )
    checks.done()
    directory_of(ctx).changing(site)
    await ctx.db.update(
        tables.sites,
        site,
        name=after.name,
        state=after.state,
        locale=after.locale,
        zone=after.zone,
        changed_at=after.changed_at,
    )
    ctx.emit(SiteChanged(site, after.name, after.state, after.locale, after.currency, after.zone))
    return after
