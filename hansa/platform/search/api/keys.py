"""Keys: scoped ones, which a site hands out to those who search for themselves."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Final

from msgspec import Meta

from hansa.kernel import codec
from hansa.kernel.caller import Principal
from hansa.kernel.context import Context
from hansa.kernel.problems import Denied
from hansa.kernel.runtime import Runtime
from hansa.kernel.structs import Secret, Struct
from hansa.platform.search import filters, scoped
from hansa.platform.search import search as service
from hansa.platform.search.access import READ, SCOPED, Grant
from hansa.platform.search.api.collections import Name, unknown, whole_of
from hansa.platform.search.process import scoped_keys
from hansa.platform.sites.api import Directory

WRITE: Final = "search.keys:write"


class NewScopedKey(Struct):
    """A scoped key to be made: what it may search, the filter that each of its searches has, and
    for how long it is good."""

    collections: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=scoped.COLLECTIONS_MAX)]
    filter: Annotated[str, Meta(max_length=scoped.FILTER_LETTERS_MAX)] = ""
    expires_s: Annotated[int, Meta(ge=1, le=scoped.EXPIRES_S_MAX)] = 86_400


class ScopedKey(Struct):
    """A scoped key, for ``Authorization: Bearer``. Nobody keeps it; it ends by itself, or with the
    key that it was made with."""

    key: Secret
    expires_at: datetime


@service.query("POST /keys", needs=WRITE)
async def make_scoped_key(ctx: Context, body: NewScopedKey) -> ScopedKey:
    """Make a scoped key. Nothing is written, so a site may make one for each of its visitors.
    Raises Unprocessable for a filter that cannot be read or does not fit a collection, NotFound for
    a collection that is not there, and Denied for who may not search."""
    if not ctx.principal.allows(READ):
        raise Denied(f"Nobody can give what they do not have: {READ}.")
    filter = filters.parse(body.filter) if body.filter else None
    for name in body.collections:
        found = await whole_of(ctx, name)
        if found is None:
            raise unknown(name)
        if filter is not None:
            filters.check(filter, found.schema)
    now = ctx.runtime.clock.now_us() // 1_000_000
    text = "" if filter is None else filters.text_of(filter)
    parent = ctx.principal.id if ctx.principal.kind == "key" else ""
    claims = scoped.Claims(
        ctx.site, text, tuple(sorted(body.collections)), now + body.expires_s, parent
    )
    scoped.check(claims, now)
    key = scoped.sign(scoped_keys(ctx.runtime, ctx.site)[0], claims)
    return ScopedKey(key, datetime.fromtimestamp(claims.expires, UTC))


def bearer_of(runtime: Runtime, directory: Directory) -> Callable[[str], Awaitable[Principal]]:
    """Return what reads scoped keys for the directory of a process."""

    async def bearer(text: str) -> Principal:
        keys = scoped_keys(runtime, scoped.site_of(text))
        claims = scoped.verify(keys, text, runtime.clock.now_us() // 1_000_000)
        if claims.parent:
            await directory.holder_of(claims.parent)
        grant = codec.encode(Grant(claims.collections, claims.filter)).decode()
        # Not its maker's name: what it may take and what it is remembered by are its own.
        name = f"{claims.parent or 'scoped'}.{blake2b(text.encode(), digest_size=8).hexdigest()}"
        return Principal(name, frozenset({SCOPED}), "key", claims.site, grant)

    return bearer
