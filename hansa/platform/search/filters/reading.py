"""Reading: from a text to a tree, with the place of whatever is wrong."""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from hansa.platform.search.filters.tree import (
    Between,
    Compares,
    Equals,
    Exists,
    Filter,
    InvalidFilter,
    Not,
    OneOf,
    Value,
    all_of,
    shown,
    some_of,
)
from hansa.platform.search.request import FILTER_LETTERS_MAX

DEPTH_MAX: Final = 20
CONDITIONS_MAX: Final = 500
VALUES_MAX: Final = 1_000
PATH_LETTERS_MAX: Final = 255

_SPACE: Final = re.compile(r"\s*")
PART: Final = re.compile(r"[\w-]+")
_SIGNS: Final = "{};*?|&"
"""Other languages give them a meaning: where they stand in quotes nobody takes them for it."""
_BARE: Final = re.compile(rf"""(?:(?!\.\.)[^\s()\[\],"'=<>!{re.escape(_SIGNS)}])+""")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES: Final = {
    '"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
}  # fmt: skip
WORDS: Final = frozenset({"and", "or", "not", "in", "to", "exists", "true", "false"})
_OPERATORS: Final = "=, !=, <, <=, >, >=, IN, EXISTS or low TO high"


def parse(text: str) -> Filter | None:
    """Return what a text says, None where it says nothing. Raises InvalidFilter."""
    if len(text) > FILTER_LETTERS_MAX:
        raise InvalidFilter(
            f"a filter has at most {FILTER_LETTERS_MAX} characters, not {len(text)}",
            FILTER_LETTERS_MAX,
        )
    return _remembered(text) if len(text) <= _SHORT else _read(text)


def _read(text: str) -> Filter | None:
    reader = _Reader(text)
    if reader.at_end():
        return None
    found = reader.some(0)
    if not reader.at_end():
        raise reader.expected("AND, OR or the end")
    return found


_SHORT: Final = 256
# The same few filters come all the time; long ones are not kept, so that the memory has a limit.
_remembered = lru_cache(maxsize=1_024)(_read)


class _Reader:
    """Where in the text we are, and what has been counted so far."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.conditions = 0
        self.values = 0

    def at_end(self) -> bool:
        """Go over spaces, and tell whether that is all."""
        space = _SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at
        return self.at == len(self.text)

    def expected(self, what: str) -> InvalidFilter:
        """Return the refusal that says what should stand here, and what does."""
        if self.at_end():
            return InvalidFilter(f"expected {what}, found the end of the filter", self.at)
        bare = _BARE.match(self.text, self.at)
        found = bare[0] if bare else self.text[self.at : self.at + 2]
        hint = "; a text with such a sign stands in quotes" if found[0] in _SIGNS else ""
        return InvalidFilter(f"expected {what}, found {shown(found.split()[0])}{hint}", self.at)

    def took(self, word: str) -> bool:
        """Take a keyword or sign where it stands next."""
        self.at_end()
        if not word.isalpha():
            found = self.text.startswith(word, self.at)
        else:
            bare = _BARE.match(self.text, self.at)
            found = bare is not None and bare[0].lower() == word
        self.at += len(word) if found else 0
        return found

    def some(self, depth: int) -> Filter:
        """Read what OR joins."""
        begin = self.at
        return some_of(*self._joined("or", lambda: self.all(depth)), at=begin)

    def all(self, depth: int) -> Filter:
        """Read what AND joins."""
        begin = self.at
        return all_of(*self._joined("and", lambda: self.one(depth)), at=begin)

    def _joined(self, word: str, read: Callable[[], Filter]) -> Iterator[Filter]:
        yield read()
        while self.took(word):
            yield read()

    def one(self, depth: int) -> Filter:
        """Read a condition, a NOT or what stands in parentheses."""
        self.at_end()
        begin = self.at
        if depth == DEPTH_MAX:
            raise InvalidFilter(f"NOT and parentheses go {DEPTH_MAX} deep, no deeper", begin)
        if self.took("not"):
            return Not(self.one(depth + 1), begin)
        if self.took("("):
            found = self.some(depth + 1)
            if not self.took(")"):
                raise self.expected("AND, OR or )")
            return found
        return self.condition()

    def condition(self) -> Filter:
        """Read a path and what is said of it."""
        begin = self.at
        path = self.path()
        self.conditions += 1
        if self.conditions > CONDITIONS_MAX:
            raise InvalidFilter(f"a filter has at most {CONDITIONS_MAX} conditions", begin)
        for order in ("<=", ">=", "<", ">"):
            if self.took(order):
                value, at = self.value()
                return Compares(path, order, value, begin, at)
        if self.took("!="):
            value, at = self.value()
            return Not(Equals(path, value, begin, at), begin)
        if self.text.startswith("==", self.at):
            raise self.expected("a single =")
        if self.took("="):
            value, at = self.value()
            return Equals(path, value, begin, at)
        if self.took("not"):
            return Not(self.word(path, begin, "IN or EXISTS"), begin)
        return self.word(path, begin, _OPERATORS)

    def word(self, path: str, begin: int, expected: str) -> Filter:
        """Read what follows a path and is said by a keyword."""
        if self.took("exists"):
            return Exists(path, begin)
        if self.took("in"):
            return self.one_of(path, begin)
        if expected != _OPERATORS or not self.begins_value():
            raise self.expected(expected)
        here = self.at
        low, low_at = self.value()
        if not self.took("to") and not self.took(".."):
            self.at = here
            raise self.expected(expected)
        high, high_at = self.value()
        return Between(path, low, high, begin, low_at, high_at)

    def one_of(self, path: str, begin: int) -> Filter:
        """Read the values after IN."""
        if not self.took("["):
            raise self.expected("[ and values")
        found = [self.value()]
        while self.took(","):
            found.append(self.value())
        if not self.took("]"):
            raise self.expected(", or ]")
        return OneOf(path, tuple(one for one, _ in found), begin, tuple(at for _, at in found))

    def path(self) -> str:
        """Read a field's name, or a dotted path into a json field."""
        self.at_end()
        begin = self.at
        bare = PART.match(self.text, self.at)
        if bare is not None and bare[0].lower() in WORDS:
            raise self.expected(f'the name of a field (of one that is named so: "{bare[0]}")')
        parts = [self.part()]
        while self.text.startswith(".", self.at) and not self.text.startswith("..", self.at):
            self.at += 1
            parts.append(self.part())
        path = ".".join(parts)
        if len(path) > PATH_LETTERS_MAX:
            raise InvalidFilter(f"a path has at most {PATH_LETTERS_MAX} characters", begin)
        return path

    def part(self) -> str:
        """Read a part of a path."""
        bare = PART.match(self.text, self.at)
        if bare is not None:
            self.at = bare.end()
            return bare[0]
        begin = self.at
        part = self.quoted()
        if part is None:
            raise self.expected("the name of a field")
        if not is_path(part):
            raise InvalidFilter("a name has no empty part, backslash or control character", begin)
        return part

    def begins_value(self) -> bool:
        """Tell whether a value could stand here, to be the first of a range."""
        bare = _BARE.match(self.text, self.at)
        return self.text[self.at : self.at + 1] in ("'", '"') or (
            bare is not None and bare[0].lower() not in WORDS
        )

    def value(self) -> tuple[Value, int]:
        """Read a value; return it and where it begins."""
        self.at_end()
        begin = self.at
        self.values += 1
        if self.values > VALUES_MAX:
            raise InvalidFilter(f"a filter has at most {VALUES_MAX} values", begin)
        text = self.quoted()
        if text is not None:
            return text, begin
        bare = _BARE.match(self.text, self.at)
        if bare is None:
            raise self.expected("a value")
        word = bare[0]
        if word.lower() in WORDS - {"true", "false"}:
            raise self.expected(f'a value (as a text: "{word}")')
        if word.lower() == "null":
            raise self.expected('a value (none at all is NOT EXISTS; as a text: "null")')
        self.at = bare.end()
        if word.lower() in ("true", "false"):
            return word.lower() == "true", begin
        number = _NUMBER.fullmatch(word)
        return (word if number is None else self.number(number, begin)), begin

    def number(self, found: re.Match[str], begin: int) -> int | float:
        """Return the number that was found: whole where it is written so."""
        if found[1] is None and found[2] is None:
            return int(found[0])
        value = float(found[0])
        if value in (float("inf"), float("-inf")):
            raise InvalidFilter("the number is larger than any there is (1.8e308)", begin)
        return value or 0.0

    def quoted(self) -> str | None:
        """Read a text in quotes, None where there is none."""
        if self.text[self.at : self.at + 1] not in ("'", '"'):
            return None
        begin = self.at
        match = _TEXT.match(self.text, begin)
        if match is None:
            raise InvalidFilter(
                f"the text that begins here has no closing {self.text[begin]}", begin
            )

        def escaped(found: re.Match[str]) -> str:
            if found[1][0] == "u" and len(found[1]) == 5:
                return chr(int(found[1][1:], 16))
            if found[1] not in _ESCAPES:
                raise InvalidFilter(
                    f"{shown(found[0])} is no escape; a backslash itself is \\\\",
                    begin + 1 + found.start(),
                )
            return _ESCAPES[found[1]]

        text = _ESCAPE.sub(escaped, match[0][1:-1])
        try:  # \ud83d\ude00 is one character, as in JSON
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise InvalidFilter("half of a surrogate pair is no character", begin) from None
        self.at = match.end()
        return text


def is_path(text: str) -> bool:
    """Tell whether a text can name a member of a json field: dots separate parts that are not
    empty; backslashes and control characters are in none."""
    return all(text.split(".")) and "\\" not in text and not re.search(r"[\x00-\x1f\x7f]", text)
