"""Visitors: what of a collection is seen without a key. Pure.

That is what its open filter lets through. Where the filter speaks of a schema that the index is not
of yet, visitors see what they saw before, of that what the new filter certainly lets through, and
of the documents that come meanwhile those that it lets through. What must never happen here: a
document that the open filter hides.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from hansa.kernel.structs import Struct
from hansa.platform.search import filters
from hansa.platform.search.documents import pruned
from hansa.platform.search.filters import Filter, InvalidFilter
from hansa.platform.search.schema import Schema

if TYPE_CHECKING:
    from hansa.platform.search.api.collections import Whole
    from hansa.platform.search.api.following import Changed

HIDDEN_MAX: Final = 10_000
"""Documents that are kept from visitors one by one; of more they are told to come again."""


class Judge(Struct):
    """An open filter of a schema that the index is not of yet: as it was written and read."""

    text: str
    wanted: Filter
    schema: Schema
    of_index: Schema

    def hidden(self, changes: Iterable["Changed"]) -> frozenset[str]:
        """Return the ids of documents that the filter does not let through. On a thread."""
        return frozenset(
            one.id
            for one in changes
            if one.body is not None
            and not filters.lets_through(
                self.wanted, pruned(msgspec.json.decode(one.body), self.schema), self.schema
            )
        )


class Visitors:
    """What visitors see of a collection in an index of some schema."""

    def __init__(self) -> None:
        self.is_open = False
        """Whether they may search, by `filter`."""
        self.filter: Filter | None = None
        """It does not fit the index's schema where nothing can be shown before another is made."""
        self.judge: Judge | None = None
        """Who tells what of the documents that come is to be hidden, while somebody has to."""
        self.is_unsure = False
        """Whether those that are there have to be looked through as well."""
        self._shown: Filter | None = None
        self._hidden: frozenset[str] = frozenset()

    def take(self, whole: "Whole", schema: Schema, *, is_first: bool) -> None:
        """Go by what the collection's open filter is now, in an index of a schema. Of documents
        that have had no schema before this one (`is_first`), none has what it does not speak of."""
        text = whole.open_filter or ""
        wanted = filters.parse(text) if text else None
        was_open, self.is_open = self.is_open, whole.open_filter is not None
        same = filters.is_same(wanted, schema, whole.schema)
        if wanted is None or not self.is_open or same:
            self._end(wanted)
            return
        judge = Judge(text, wanted, whole.schema, schema)
        if self.judge == judge:
            return
        certain = filters.narrowed(wanted, schema, whole.schema)
        if not was_open or self.judge is not None or not fits(self.filter, schema) or not certain:
            self._end(wanted)
            return
        self._shown = self.filter if certain is True else filters.both(self.filter, certain)
        self._hidden = frozenset()
        self.judge, self.is_unsure = judge, not is_first
        self.filter = wanted if self.is_unsure else self._shown

    def _end(self, wanted: Filter | None) -> None:
        self.filter, self.judge, self.is_unsure = wanted, None, False

    def hide(self, judge: Judge, ids: frozenset[str], *, are_all: bool = False) -> None:
        """Hide documents that are in the index, or about to come into it, by who still has to tell;
        `are_all` says that those that are there have been looked through."""
        if judge is not self.judge:
            return
        if ids <= self._hidden and not are_all:
            return  # the filter is a new one only where it says something new
        self.is_unsure &= not are_all
        self._hidden |= ids
        if len(self._hidden) > HIDDEN_MAX:
            self._end(judge.wanted)
        elif self._hidden and not self.is_unsure:
            without = filters.Not(filters.OneOf("id", tuple(sorted(self._hidden))))
            self.filter = filters.both(self._shown, without)
        elif not self.is_unsure:
            self.filter = self._shown


def fits(filter: Filter | None, schema: Schema) -> bool:
    """Tell whether a schema allows a filter."""
    try:
        filters.check(filter, schema)
    except InvalidFilter:
        return False
    return True
