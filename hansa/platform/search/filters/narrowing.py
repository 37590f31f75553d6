"""Narrowing: a filter as documents of an older schema can be asked it. Pure.

What must never happen here: a document that the filter does not let through, and the narrowed one
does.
"""

from hansa.platform.search.filters.checking import check
from hansa.platform.search.filters.tree import (
    All,
    Filter,
    InvalidFilter,
    Not,
    Some,
    all_of,
    some_of,
)
from hansa.platform.search.schema import Schema


def narrowed(filter: Filter, schema: Schema) -> Filter | bool:
    """Return what lets through only documents of a schema that `filter`, of a later one, lets
    through, as far as the older one can tell; True for all of them, False for none. A field that
    the schema has not has no values in its documents; of one that has become another nothing is
    known, so it holds neither with NOT nor without."""
    return _narrowed(filter, schema, unknown=False)


def _narrowed(filter: Filter, schema: Schema, *, unknown: bool) -> Filter | bool:
    """`unknown` is what is taken for what nothing is known of."""
    match filter:
        case Not():
            part = _narrowed(filter.part, schema, unknown=not unknown)
            return not part if isinstance(part, bool) else Not(part)
        case All() | Some():
            decides = isinstance(filter, Some)
            parts = [_narrowed(one, schema, unknown=unknown) for one in filter.parts]
            left = tuple(one for one in parts if not isinstance(one, bool))
            if decides in parts or not left:
                return decides if decides in parts else not decides
            return some_of(*left) if decides else all_of(*left)
        case _:
            try:
                check(filter, schema)
            except InvalidFilter:
                return unknown and schema.field(filter.path) is not None
            return filter
