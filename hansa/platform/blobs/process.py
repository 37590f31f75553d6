"""Process: what of the running process blobs reach: the keys that links are signed with."""

from collections.abc import Sequence
from typing import Final

from hansa.kernel.runtime import Runtime

LINKS: Final = "blobs.links"


def link_keys(runtime: Runtime, site: str) -> Sequence[bytes]:
    """Return the keys of a site's links: one signs, all of them are believed."""
    return runtime.sealer.derived(f"{LINKS}/{site}")
