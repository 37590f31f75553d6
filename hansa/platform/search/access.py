"""Access: what of a collection somebody may find. Pure.

What must never happen here: a search without the filter that its key carries, or a refusal by which
a visitor tells a collection that is closed from one that is not there.
"""

from functools import lru_cache
from typing import Final

from hansa.kernel import codec
from hansa.kernel.caller import Principal
from hansa.kernel.problems import Denied, NotFound
from hansa.kernel.structs import Struct
from hansa.platform.search import filters
from hansa.platform.search.filters import Filter

READ: Final = "search.documents:read"
SCOPED: Final = "search.documents:scoped"
"""What scoped keys have; it is given to no other key."""


class Grant(Struct):
    """What a scoped key may search: these collections, and of them what the filter lets through."""

    collections: tuple[str, ...]
    filter: str


@lru_cache(maxsize=4_096)
def _read(text: str) -> tuple[frozenset[str], Filter | None]:
    grant = codec.decode(text.encode(), Grant)
    return frozenset(grant.collections), filters.parse(grant.filter) if grant.filter else None


def filter_for(
    principal: Principal, names: tuple[str, ...], open_filter: Filter | None, *, is_open: bool
) -> Filter | None:
    """Return the filter that a search always has, None for none; `names` are what the collection is
    called here, first as it was asked for. Raises NotFound for a visitor where the collection is
    not open, as where there is none, and Denied for a key that may not search it."""
    if principal.grant:
        collections, filter = _read(principal.grant)
        if collections.isdisjoint(names):
            raise Denied("The key is not for this collection.", slug="collection-not-granted")
        return filter
    if principal.allows(READ):
        return None
    if is_open:
        return open_filter
    if principal.kind == "public":
        raise NotFound(
            f"No collection {names[0][:64]} is open to visitors here. If there is one, searching it"
            f" takes a key with the permission {READ}, or a scoped key.",
            slug="unknown-collection",
        )
    raise Denied(f"It takes the permission {READ}, or a scoped key.")


def may_see_words(principal: Principal, always: Filter | None) -> bool:
    """Tell whether somebody may learn which words there are and how frequent they are, whatever
    document has them: not who finds only a part of the documents."""
    return always is None or principal.allows(READ)
