"""Request and response, as both faces and the core see them."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

ReadBody = Callable[[int, int], Awaitable[bytes]]
"""Reads the whole body: takes the length announced (-1: unknown) and the most bytes to accept.

Raises TooLarge, and BodyIncomplete when the client stops before the end.
"""


class Headers(Protocol):
    """The headers of a request, by lower-case name. Values that are not ASCII are not to be had."""

    def get(self, key: str, default: str, /) -> str:
        """Return the first value of a header, `default` when there is none."""
        ...

    def __contains__(self, key: str, /) -> bool:
        """Tell whether a header came, even one whose value is not ASCII and so is not to be had."""
        ...

    def get_all(self, key: str, /) -> Sequence[str]:
        """Return the values of a header in their order, none for one that did not come."""
        ...

    def items(self) -> Iterable[tuple[str, str]]:
        """Return every header that can be had, those that came twice too."""
        ...


@dataclass(slots=True)
class Request:
    """What came in, without its body: that is read when it is known to be welcome.

    `path` is percent-decoded text, and a byte that is not UTF-8 is U+FFFD in it: granian hands out
    paths in no other form, so the other face does the same. `query` is as it came.
    """

    method: str
    path: str
    query: str
    host: str
    headers: Headers
    read: ReadBody
    length: int = 0
    """The body's announced bytes; 0 for no body, -1 for one of unknown length."""
    peer: str = ""
    """Who has connected, ``192.0.2.1:4711``: the client, or a proxy (see `proxies`)."""


@dataclass(slots=True)
class Response:
    """What goes out, complete. Header names are lower-case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
