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
    paths,
    some_of,
)
from hansa.platform.search.schema import Schema


def is_same(filter: Filter | None, schema: Schema, later: Schema) -> bool:
    """Tell whether a filter of a later schema is one of the older schema, too, and says the same:
    5 is not over 5.2, until the field has fractions."""
    try:
        check(filter, schema)
    except InvalidFilter:
        return False
    return all(_is_same(path, schema, later) for path in ([] if filter is None else paths(filter)))


def _is_same(path: str, schema: Schema, later: Schema) -> bool:
    before, after = schema.field(path), later.field(path)
    return before is after or (
        before is not None and after is not None and before.type == after.type
    )


def narrowed(filter: Filter, schema: Schema, later: Schema) -> Filter | bool:
    """Return what lets through only documents of a schema that `filter`, of a later one, lets
    through, as far as the older one can tell; True for all of them, False for none. A field that
    the schema has not has no values in its documents; of one that has become another nothing is
    known, so it holds neither with NOT nor without."""
    return _narrowed(filter, schema, later, unknown=False)


def _narrowed(filter: Filter, schema: Schema, later: Schema, *, unknown: bool) -> Filter | bool:
    """`unknown` is what is taken for what nothing is known of."""
    match filter:
        case Not():
            part = _narrowed(filter.part, schema, later, unknown=not unknown)
            return not part if isinstance(part, bool) else Not(part)
        case All() | Some():
            decides = isinstance(filter, Some)
            parts = [_narrowed(one, schema, later, unknown=unknown) for one in filter.parts]
            left = tuple(one for one in parts if not isinstance(one, bool))
            if decides in parts or not left:
                return decides if decides in parts else not decides
            return some_of(*left) if decides else all_of(*left)
        case _:
            if is_same(filter, schema, later):
                return filter
            return unknown and schema.field(filter.path) is not None
