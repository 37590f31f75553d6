"""Answer: what an operation gives back to the wire, encoded already."""

from dataclasses import dataclass, field
from typing import Final

from hansa.kernel.problems import TooLarge

ANSWER_BYTES_MAX: Final = 16 << 20
"""What an answer may have: sixteen of the largest bodies. A page of large things is asked for in
smaller parts."""


@dataclass(slots=True)
class Answer:
    """A status, a body of bytes and the headers that only the operation knows of.

    Headers have lower-case names, such as ``location``, ``idempotency-replayed`` and
    ``hansa-position``.
    """

    status: int
    body: bytes
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    content_type: str = "application/json"


def bounded(body: bytes) -> bytes:
    """Return an encoded answer. Raises TooLarge (`answer-too-large`) over `ANSWER_BYTES_MAX`."""
    if len(body) > ANSWER_BYTES_MAX:
        raise TooLarge(
            f"The answer would have {len(body)} bytes, and may have {ANSWER_BYTES_MAX}: ask for"
            " less at once, as with a smaller limit.",
            slug="answer-too-large",
        )
    return body
