"""Planting: putting a known bug into a process, and taking it out again."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Plant = Callable[[], None]
_before: list[tuple[Any, str, Any]] = []


def put(module: Any, parts: dict[str, Any]) -> None:
    """Put other parts into a module or class; `planted` takes them out again."""
    for name, part in parts.items():
        _before.append((module, name, getattr(module, name)))
        setattr(module, name, part)


@contextmanager
def planted(name: str, plants: Mapping[str, Plant]) -> Iterator[None]:
    """Have one of these bugs, none for an empty name, in this process for a while, and in those
    forked from it."""
    try:
        if name:
            plants[name]()
        yield
    finally:
        while _before:
            module, part, whole = _before.pop()
            setattr(module, part, whole)
