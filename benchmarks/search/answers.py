"""Answers: what every engine is asked, and what it answers, whatever it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

PAGE = 10


@dataclass
class Answer:
    """The documents of a page as JSON, their ids, marked texts and counts by facet."""

    ids: list[str]
    bodies: list[bytes] = field(default_factory=list[bytes])
    marked: list[Sequence[str]] = field(default_factory=list[Sequence[str]])
    counts: list[dict[str, int]] = field(default_factory=list[dict[str, int]])


class Engine(Protocol):
    """Something that searches one collection."""

    name: str
    title: str
    build_s: float

    def search(self, q: str, limit: int, *, full: bool) -> Answer:
        """Return the first documents; `full`: with counts and marks too."""
        ...

    def forget(self) -> None:
        """Have it answer each query as if for the first time."""
        ...

    def cpu_s(self) -> float:
        """Return the processor seconds of all its processes so far."""
        ...

    def megabytes(self) -> float:
        """Return what its index takes on the disk."""
        ...

    def close(self) -> None:
        """End it."""
        ...
