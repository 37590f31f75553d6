"""Process: what of the running process webhooks reach, apart from their database: the sealer."""

from typing import Final

from hansa.kernel.context import Context

SEAL_PURPOSE: Final = "webhooks.keys"


def keys_sealed(ctx: Context, plain: bytes) -> bytes:
    """Return signing keys as they may be kept."""
    return ctx.runtime.sealer.seal(SEAL_PURPOSE, ctx.site, plain)


def keys_opened(ctx: Context, sealed: bytes) -> bytes:
    """Return signing keys that `keys_sealed` was given."""
    return ctx.runtime.sealer.open(SEAL_PURPOSE, ctx.site, sealed)
