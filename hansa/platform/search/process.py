"""Process: what of the running process search reaches: the keys that it signs with."""

from collections.abc import Sequence
from typing import Final

from hansa.kernel.runtime import Runtime

KEYS: Final = "search.keys"
QUERIES: Final = "search.queries"
VISITORS: Final = "search.visitors"


def scoped_keys(runtime: Runtime, site: str) -> Sequence[bytes]:
    """Return the keys of a site's scoped keys: one signs, all of them are believed."""
    return runtime.sealer.derived(f"{KEYS}/{site}")


def visitor_key(runtime: Runtime, site: str) -> bytes:
    """Return the key of the digests by which visitors of a site are told apart."""
    return runtime.sealer.derived(f"{VISITORS}/{site}")[0]


def query_keys(runtime: Runtime, site: str) -> Sequence[bytes]:
    """Return the keys that the names of queries are signed with."""
    return runtime.sealer.derived(f"{QUERIES}/{site}")
