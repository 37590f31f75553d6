"""Schema: which fields the documents of a collection have, and what each is for."""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from msgspec import Meta
from rapidfuzz.distance import OSA

from hansa.kernel.structs import Struct

FIELDS_MAX: Final = 64
WEIGHT_MAX: Final = 10
ID_LETTERS_MAX: Final = 120
DOCUMENT_BYTES_MAX: Final = 1 << 17

Type = Literal["text", "keyword", "int", "float", "bool", "date", "json", "stored"]
"""What a field holds, one value or an array of them:

- ``text`` is prose, searched by its words; ``keyword`` is one name, compared as a whole;
- ``int`` (64 bits), ``float``, ``bool``, and ``date`` (an instant by RFC 3339) are compared;
- ``json`` is an object whose members need not be declared, named as ``attributes.colour``;
- ``stored`` is anything, given back and never searched.
"""

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,62}$")]


class Field(Struct):
    """A field. `weight` is how often its words count in ranking, 0 for not searched (without one: 1
    for text, else 0); `facet` and `sort` allow what they say; any field but text and stored can be
    filtered by. A field to sort by holds one value."""

    name: Name
    type: Type
    weight: Annotated[int, Meta(ge=0, le=WEIGHT_MAX)] | None = None
    facet: bool = False
    sort: bool = False

    @property
    def words(self) -> int:
        """How often its words count."""
        return self.weight if self.weight is not None else int(self.type == "text")


ID_FIELD: Final = Field("id", "keyword")
"""What every document has, and may be filtered by, without its being declared."""


class Schema(Struct):
    """The fields, which of them names a document (`title`: its words count once more), and the
    language of the words, as the first part of a locale: ``en``."""

    fields: Annotated[tuple[Field, ...], Meta(min_length=1, max_length=FIELDS_MAX)]
    title: str = ""
    locale: str = "en"

    def field(self, name: str) -> Field | None:
        """Return the field that a name or a dotted path begins with, None if there is none."""
        first = name.partition(".")[0]
        return next((one for one in self.fields if one.name == first), None)

    def hint(self, name: str) -> str:
        """Return what to tell somebody who named a field that there is not."""
        return did_you_mean(name, (one.name for one in self.fields))


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a question for the nearest of some names, or else the names themselves."""
    known = list(names)
    far = max(1, len(name) // 3)
    near = [(OSA.distance(name.lower(), one, score_cutoff=far), one) for one in known]
    distance, nearest = min(near, default=(far + 1, ""))
    if distance <= far:
        return f"; did you mean {nearest}?"
    more = "" if len(known) <= 10 else f" and {len(known) - 10} more"
    return f"; there are {', '.join(known[:10])}{more}" if known else ""
