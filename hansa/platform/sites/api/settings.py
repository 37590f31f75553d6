"""Settings: what is set for a site, and what holds where nothing is set."""

from typing import Any

from hansa.kernel.compiler import delete, param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.problems import Fault, NotFound, Unprocessable
from hansa.kernel.structs import Struct
from hansa.platform.sites import sites as service
from hansa.platform.sites import tables
from hansa.platform.sites.api.events import SettingChanged
from hansa.platform.sites.api.sites import find_site
from hansa.platform.sites.process import directory_of, sealer_of
from hansa.platform.sites.settings import SEAL_PURPOSE, Setting, declared


class NewValue(Struct):
    """What a setting is to be."""

    value: Any


class SettingValue(Struct):
    """A setting of a site. `value` is null where it is secret; `is_set` tells whether the site has
    one of its own."""

    name: str
    summary: str
    secret: bool
    is_set: bool
    value: Any


_of_site = select(tables.settings.c.name, tables.settings.c.value).where(
    tables.settings.c.site_id == param("site_id")
)
_remove = delete(tables.settings).where(
    tables.settings.c.site_id == param("site_id"), tables.settings.c.name == param("name")
)
_new = {name: param(name) for name in ("value", "is_sealed", "changed_at")}
_put = upsert(
    tables.settings,
    key=("site_id", "name"),
    values={"site_id": param("site_id"), "name": param("name"), **_new},
    change=_new,
)


class _Kept(Struct):
    name: str
    value: bytes


def _find(name: str) -> Setting[Any]:
    found = declared.find(name)
    if found is None:
        raise NotFound(f"There is no setting {name[:80]}.")
    return found


def _shown(one: Setting[Any], kept: bytes | None) -> SettingValue:
    value: Any = None
    if not one.secret:
        value = one.default if kept is None else one.read(kept)
    return SettingValue(one.name, one.summary, one.secret, kept is not None, value)


@service.query("GET /{site}/settings", needs="platform.settings:read", scope="platform")
async def list_settings(ctx: Context, site: ID) -> list[SettingValue]:
    """Return all settings that there are, with a site's values; never a secret one's. Raises
    NotFound."""
    await find_site(ctx, site)
    kept = {row.name: row.value for row in await ctx.db.all(_of_site, _Kept, site_id=site)}
    return [_shown(one, kept.get(one.name)) for one in declared]


@service.query("GET /{site}/settings/{name}", needs="platform.settings:read", scope="platform")
async def get_setting(ctx: Context, site: ID, name: str) -> SettingValue:
    """Return one setting of a site; never a secret value. Raises NotFound."""
    one = _find(name)
    await find_site(ctx, site)
    kept = {row.name: row.value for row in await ctx.db.all(_of_site, _Kept, site_id=site)}
    return _shown(one, kept.get(one.name))


@service.command("PUT /{site}/settings/{name}", needs="platform.settings:write", scope="platform")
async def set_setting(ctx: Context, site: ID, name: str, body: NewValue) -> SettingValue:
    """Set a setting. A secret one is sealed before it is kept.

    Raises NotFound, and Unprocessable for a value that does not fit.
    """
    one = _find(name)
    await find_site(ctx, site)
    try:
        stored = one.write(body.value)
    except ValueError as error:
        raise Unprocessable(
            "The value is refused.", errors=(Fault("/value", str(error)),)
        ) from None
    kept = sealer_of(ctx).seal(SEAL_PURPOSE, site, stored) if one.secret else stored
    directory_of(ctx).changing_setting(site, name)
    await ctx.db.run(
        _put, site_id=site, name=name, value=kept, is_sealed=one.secret, changed_at=ctx.now
    )
    ctx.emit(SettingChanged(site, name))
    return _shown(one, stored)


@service.command(
    "DELETE /{site}/settings/{name}",
    needs="platform.settings:write",
    scope="platform",
    status=204,
)
async def reset_setting(ctx: Context, site: ID, name: str) -> None:
    """Have the default hold again; once more changes nothing. Raises NotFound."""
    _find(name)
    await find_site(ctx, site)
    directory_of(ctx).changing_setting(site, name)
    if await ctx.db.run(_remove, site_id=site, name=name):
        ctx.emit(SettingChanged(site, name))
