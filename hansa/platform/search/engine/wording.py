"""Wording: the texts of a document that are searched, and in which of the engine's fields they go.

- `bag` has the words of texts and names, each field's repeated by its weight: BM25F (Robertson,
  Zaragoza and Taylor 2004) by one field, in which a word counts once however many fields it is in.
- `title` has those of the title by themselves.
- `traits` has what json and number fields say, as words: they tell what a document has, so they
  decide whether it is found, and hardly how high. In the bag, the many traits of a well described
  product would count as length against it.
- `words` has all of them once: documents are found by it where no score is asked for.
- `vocab` has the same as they are written: for typos, for beginnings of words, for
  phrases.
"""

from collections.abc import Iterator
from typing import Any, Final

from hansa.kernel.structs import Struct
from hansa.platform.search.analysis import Analyzer, analyzer
from hansa.platform.search.schema import Schema

BAG: Final = "bag"
TITLE: Final = "title"
TRAITS: Final = "traits"
WORDS: Final = "words"
VOCAB: Final = "vocab"


class Wording(Struct):
    """The texts for each of the engine's fields."""

    bag: tuple[str, ...]
    title: tuple[str, ...]
    traits: tuple[str, ...]
    vocab: tuple[str, ...]


class Wordings:
    """Makes the texts of the documents of a schema."""

    __slots__ = ("_analyzer", "_fields", "_is_title_within", "_title")

    def __init__(self, schema: Schema) -> None:
        self._analyzer: Analyzer = analyzer(schema.locale)
        self._title = schema.title
        self._fields = [
            (field.name, field.words, field.type in ("text", "keyword"))
            for field in schema.fields
            if field.words and field.type != "stored"
        ]
        self._is_title_within = schema.title in (name for name, _, _ in self._fields)

    def of(self, document: dict[str, Any]) -> Wording:
        """Return the texts of a document."""
        bag: list[str] = []
        traits: list[str] = []
        vocab: list[str] = []
        for name, weight, prose in self._fields:
            if (value := document.get(name)) is None:
                continue
            texts = [self._analyzer.text(text) for text in _texts(name, value)]
            # A trait of more than the least weight counts as text, too.
            bag += texts * (weight if prose else weight - 1)
            if not prose:
                traits += texts
            vocab += texts
        title = [
            self._analyzer.text(text) for text in _texts(self._title, document.get(self._title))
        ]
        if not self._is_title_within:
            vocab += title
        return Wording(tuple(bag), tuple(title), tuple(traits), tuple(vocab))


def _texts(name: str, value: Any) -> Iterator[str]:
    """What a value says in words. What is so is told by its name: ``{"bluetooth": true}``."""
    if isinstance(value, str):
        yield value
    elif value is True:
        yield name.replace("_", " ")
    elif isinstance(value, int | float) and value is not False:
        yield f"{value:.15g}"
    elif isinstance(value, dict):
        for member, one in value.items():
            yield from _texts(member, one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(name, one)
