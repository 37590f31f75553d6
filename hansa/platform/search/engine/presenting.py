"""Presenting: a document as a hit shows it: what was asked for of it, its words marked. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from hansa.platform.search.engine.marking import Marker
from hansa.platform.search.schema import ID_FIELD

_Values = Mapping[str, Any]

_decode_raw: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode: Final[Callable[[bytes], dict[str, Any]]] = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode


def selected(body: bytes, paths: Sequence[str]) -> msgspec.Raw:
    """Return a document with its id and what some paths name; without paths, all of it."""
    if not paths:
        return msgspec.Raw(body)
    whole = _decode_raw(body)
    chosen: dict[str, Any] = {}
    for path in (ID_FIELD.name, *paths):
        name, dot, member = path.partition(".")
        if name not in whole:
            continue
        if not dot:
            chosen[name] = whole[name]
        elif not isinstance(kept := chosen.setdefault(name, {}), msgspec.Raw):
            _copy(_decode(whole[name]), member, kept)
    return msgspec.Raw(_encode(chosen))


def _copy(value: Any, path: str, into: dict[str, Any]) -> None:
    """Copy what a path leads to; a name with dots, as the engine has it, is a path too."""
    if not isinstance(value, dict):
        return
    if path in value:
        into[path] = value[path]
        return
    name, _, rest = path.partition(".")
    if rest and isinstance(value.get(name), dict):
        _copy(value[name], rest, into.setdefault(name, {}))


def values_at(value: Any, path: str) -> Iterator[Any]:
    """Return the values that a path leads to, through arrays and names with dots."""
    if isinstance(value, list):
        for one in value:
            yield from values_at(one, path)
    elif not path:
        if value is not None:
            yield value
    elif isinstance(value, dict):
        if path in value:
            yield from values_at(value[path], "")
            return
        name, _, rest = path.partition(".")
        if rest and name in value:
            yield from values_at(value[name], rest)


class Reader:
    """Reads the values at some paths of a body, and nothing else of it."""

    __slots__ = ("_decode", "_paths")

    def __init__(self, paths: Sequence[str]) -> None:
        names = list(dict.fromkeys(path.partition(".")[0] for path in paths))
        # A field may have the name of a keyword of Python, an attribute may not.
        attributes = {name: f"field_{place}" for place, name in enumerate(names)}
        struct = msgspec.defstruct(
            "Values",
            [(attribute, Any, None) for attribute in attributes.values()],
            rename={attribute: name for name, attribute in attributes.items()},
            gc=False,
        )
        self._decode = msgspec.json.Decoder(struct).decode
        self._paths = [
            (path, attributes[path.partition(".")[0]], path.partition(".")[2]) for path in paths
        ]

    def __call__(self, body: bytes) -> list[tuple[str, Any]]:
        """Return the paths that lead to something, each with its value or list of values."""
        values = self._decode(body)
        found = [(path, getattr(values, name), rest) for path, name, rest in self._paths]
        return [
            (path, list(values_at(value, rest)) if rest else value)
            for path, value, rest in found
            if value is not None
        ]


reader_of: Final = lru_cache(maxsize=512)(Reader)


def highlights(bodies: Sequence[bytes], reader: Reader, marker: Marker) -> list[dict[str, str]]:
    """Return, for each document, the fields that have any of the words, with the piece of each that
    has the most of them."""
    places: list[tuple[int, str]] = []
    texts: list[str] = []
    for place, body in enumerate(bodies):
        for path, value in reader(body):
            for text in (value,) if isinstance(value, str) else values_at(value, ""):
                if isinstance(text, str):
                    places.append((place, path))
                    texts.append(text)
    found: list[dict[str, str]] = [{} for _ in bodies]
    most: dict[tuple[int, str], int] = {}
    for where, marked in zip(places, marker.marked(texts), strict=True):
        if marked is not None and marked[0] > most.get(where, 0):
            most[where], found[where[0]][where[1]] = marked
    return found
