"""Filters: which documents may be found, said in a small typed language. Pure.

    brand = "HP" AND (price < 5000 OR attributes.colour IN [Black, Silver])
    AND NOT discontinued = true AND released >= 2020-01-01 AND stock EXISTS AND weight 1 TO 2.5

- ``=``, ``!=``, ``IN [...]`` and ``NOT IN [...]`` compare anything; ``<``, ``<=``, ``>``,
  ``>=`` and ``low TO high`` (both included; ``..`` says the same) compare numbers and dates;
  ``EXISTS`` and ``NOT EXISTS`` ask for any value. A field with many values matches by any of them.
  ``a != b`` is ``NOT a = b``, which a document without `a` fulfils.
- NOT binds tighter than AND, AND tighter than OR; keywords may be small. (So it is in SQL, and
  nearly so in Meilisearch and Algolia.)
- A text stands in quotes, ``"`` or ``'``, with the escapes of JSON; a word without spaces that is
  no number, keyword, true or false needs none. Parts of a path with other letters stand in quotes
  too: ``attributes."Screen size"``. Numbers are those of JSON: there is no NaN, and -0 is 0.
- A date is RFC 3339 or YYYY-MM-DD, which is the first moment of that day in UTC.
- Members of a json field are compared by the type of the value: ``5`` is not ``"5"``.

What must never happen: a filter put together from texts. A filter that must hold is joined to a
visitor's by `both`, as trees, so that no quote or parenthesis of the one reaches into the other.
"""

from hansa.platform.search.filters.checking import INT_MAX, MEMBER_MAX, check, field_of
from hansa.platform.search.filters.judging import lets_through
from hansa.platform.search.filters.narrowing import is_same, narrowed
from hansa.platform.search.filters.printing import text_of
from hansa.platform.search.filters.reading import (
    CONDITIONS_MAX,
    DEPTH_MAX,
    PATH_LETTERS_MAX,
    VALUES_MAX,
    is_path,
    parse,
)
from hansa.platform.search.filters.tree import (
    All,
    Between,
    Compares,
    Condition,
    Equals,
    Exists,
    Filter,
    InvalidFilter,
    Not,
    OneOf,
    Order,
    Some,
    Value,
    all_of,
    both,
    paths,
    some_of,
    without,
)

__all__ = [
    "CONDITIONS_MAX",
    "DEPTH_MAX",
    "INT_MAX",
    "MEMBER_MAX",
    "PATH_LETTERS_MAX",
    "VALUES_MAX",
    "All",
    "Between",
    "Compares",
    "Condition",
    "Equals",
    "Exists",
    "Filter",
    "InvalidFilter",
    "Not",
    "OneOf",
    "Order",
    "Some",
    "Value",
    "all_of",
    "both",
    "check",
    "field_of",
    "is_path",
    "is_same",
    "lets_through",
    "narrowed",
    "parse",
    "paths",
    "some_of",
    "text_of",
    "without",
]
