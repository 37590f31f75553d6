"""Keys: who may act on a site, or with the site ``platform`` on the platform itself."""

from collections.abc import Callable
from datetime import datetime

from hansa.kernel.compiler import param, select, update
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.problems import Denied, NotFound
from hansa.kernel.storage import PLATFORM
from hansa.kernel.structs import Page, PageRequest, Secret, Struct
from hansa.platform.sites import keys as secrets
from hansa.platform.sites import sites as service
from hansa.platform.sites import tables
from hansa.platform.sites.api.events import KeyCreated, KeyRevoked
from hansa.platform.sites.api.sites import NAME_LETTERS_MAX, check_aware, find_site
from hansa.platform.sites.checking import Checks, text_up_to
from hansa.platform.sites.process import directory_of, needs_of

check_name = text_up_to(NAME_LETTERS_MAX)


class NewKey(Struct):
    """A key to be made: for whom, for what (``commerce.*``), and until when, if not for good."""

    name: str
    permissions: tuple[str, ...]
    expires_at: datetime | None = None


class CreatedKey(Struct):
    """A key with its text, which is shown this once."""

    id: ID
    name: str
    permissions: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    key: Secret


class Key(Struct):
    """A key as it is known afterwards: nothing that opens anything."""

    id: ID
    name: str
    permissions: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


_shown = [
    tables.keys.c[name]
    for name in ("id", "name", "permissions", "created_at", "expires_at", "revoked_at")
]
_of_site = select(*_shown).where(tables.keys.c.site_id == param("site_id"))
_revoke = (
    update(tables.keys)
    .where(
        tables.keys.c.id == param("id"),
        tables.keys.c.site_id == param("site_id"),
        tables.keys.c.revoked_at.is_(None),
    )
    .values(revoked_at=param("revoked_at"))
)
_one = select(*_shown).where(
    tables.keys.c.id == param("id"), tables.keys.c.site_id == param("site_id")
)


def later_than(now: datetime) -> Callable[[datetime], datetime]:
    """Return a check for an instant that is to come."""

    def check(instant: datetime) -> datetime:
        if check_aware(instant) <= now:
            raise ValueError("an instant that is to come")
        return instant

    return check


async def _check_site(ctx: Context, site: ID) -> None:
    if site != PLATFORM:
        await find_site(ctx, site)


@service.command("POST /{site}/keys", needs="platform.keys:write", scope="platform", status=201)
async def create_key(ctx: Context, site: ID, body: NewKey) -> CreatedKey:
    """Make a key. Its text is in this answer and nowhere else.

    Raises NotFound, Unprocessable, and Denied for permissions that the caller does not have.
    """
    await _check_site(ctx, site)
    checks = Checks()
    name = checks.take("/name", check_name, body.name, "")
    permissions = checks.take(
        "/permissions", secrets.check_permissions, body.permissions, body.permissions
    )
    if body.expires_at is not None:
        checks.take("/expires_at", later_than(ctx.now), body.expires_at, ctx.now)
    checks.take(
        "/permissions", lambda texts: secrets.check_needed(texts, needs_of(ctx)), permissions, None
    )
    checks.done()
    missing = secrets.not_held(ctx.principal, permissions)
    if missing:
        raise Denied(f"Nobody can give what they do not have: {', '.join(missing)}.")
    secret = secrets.new_secret()
    key = ctx.new_id(secrets.PREFIX)
    made = CreatedKey(
        key, name, permissions, ctx.now, body.expires_at, secrets.key_text(key, secret)
    )
    await ctx.db.insert(
        tables.keys,
        id=key,
        site_id=site,
        name=name,
        hash=secrets.secret_hash(secret),
        permissions=permissions,
        created_at=made.created_at,
        expires_at=made.expires_at,
        revoked_at=None,
    )
    ctx.emit(KeyCreated(site, key, permissions, made.expires_at))
    return made


@service.query("GET /{site}/keys", needs="platform.keys:read", scope="platform")
async def list_keys(ctx: Context, site: ID, page: PageRequest) -> Page[Key]:
    """List a site's keys, the oldest first, without anything that opens. Raises NotFound."""
    await _check_site(ctx, site)
    found: Page[Key] = await ctx.db.page(
        _of_site, Key, page, order=(tables.keys.c.id,), site_id=site
    )
    return found


@service.command(
    "DELETE /{site}/keys/{key}", needs="platform.keys:write", scope="platform", status=204
)
async def revoke_key(ctx: Context, site: ID, key: ID) -> None:
    """Make a key no good from now on; once more changes nothing. Raises NotFound.

    This process refuses it at once, others within a second.
    """
    directory_of(ctx).changing(key)
    if await ctx.db.run(_revoke, id=key, site_id=site, revoked_at=ctx.now):
        ctx.emit(KeyRevoked(site, key))
    elif await ctx.db.first(_one, Key, id=key, site_id=site) is None:
        raise NotFound("The site has no such key.")
