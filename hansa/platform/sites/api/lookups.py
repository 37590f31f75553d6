"""Lookups: what the directory of another process asks. Nobody outside can."""

from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import INTERNAL
from hansa.platform.sites import rows
from hansa.platform.sites import sites as service
from hansa.platform.sites.process import read_ticked
from hansa.platform.sites.rows import ClockRow, KeyRow, SettingRow, SiteRow


@service.query(needs=INTERNAL, scope="platform")
async def look_up_site(ctx: Context, id: ID) -> SiteRow | None:
    """Return a site."""
    return await rows.site_of(ctx.db, id)


@service.query(needs=INTERNAL, scope="platform")
async def look_up_clock(ctx: Context, id: ID) -> ClockRow:
    """Return where the test clock of a site stands."""
    return ClockRow(*await read_ticked(ctx, id))


@service.query(needs=INTERNAL, scope="platform")
async def look_up_host(ctx: Context, host: str) -> ID | None:
    """Return the site that a host leads to."""
    return await rows.site_of_host(ctx.db, host)


@service.query(needs=INTERNAL, scope="platform")
async def look_up_key(ctx: Context, id: ID) -> KeyRow | None:
    """Return a key, with the hash of its secret."""
    return await rows.key_of(ctx.db, id)


@service.query(needs=INTERNAL, scope="platform")
async def look_up_setting(ctx: Context, site: ID, name: str) -> SettingRow | None:
    """Return a setting of a site as it is kept."""
    return await rows.setting_of(ctx.db, site, name)


@service.query(needs=INTERNAL, scope="platform")
async def look_up_zones(ctx: Context) -> list[str]:
    """Return the time zones of all active sites on the real clock."""
    return await rows.zones_of(ctx.db)


@service.query(needs=INTERNAL, scope="platform")
async def look_up_zone(ctx: Context, zone: str, after: ID, limit: int) -> list[SiteRow]:
    """Return active sites of a zone on the real clock, by id, after one."""
    return await rows.sites_in_zone(ctx.db, zone, after, limit)
