"""Words that are known, without an index."""

from collections.abc import Mapping, Sequence

from hansa.platform.search.vocabulary import Lexicon, Vocabulary


class Known:
    """Words by how many documents each is in; `titles` by how many titles, else as many."""

    def __init__(self, words: Mapping[str, int], titles: Mapping[str, int] | None = None) -> None:
        self.words = words
        self.titles = words if titles is None else titles

    @property
    def documents(self) -> int:
        return 2 * max(self.words.values(), default=10)

    def containing(self, term: str) -> int:
        return self.words.get(term, 10)

    def frequency(self, word: str) -> int:
        return self.words.get(word, 0)

    def forms(self, word: str) -> int:
        return max(self.words.get(word, 0), self.titles.get(word, 0))

    def naming(self, word: str) -> int:
        return self.titles.get(word, 0)

    def beginning(self, prefix: str, limit: int) -> Sequence[tuple[str, int]]:
        found = [one for one in self.words.items() if one[0].startswith(prefix)]
        return sorted(found, key=lambda one: (-one[1], one[0]))[:limit]


def vocabulary(
    words: Mapping[str, int] | str = "", titles: Mapping[str, int] | None = None
) -> Vocabulary:
    """The vocabulary of some words, each in ten documents if nothing else is said."""
    known = Known(dict.fromkeys(words.split(), 10) if isinstance(words, str) else words, titles)
    lexicon = Lexicon(known.words)
    return Vocabulary(known, lambda: lexicon)
