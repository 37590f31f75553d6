"""Answer: what an operation gives back to the wire, encoded already."""

from dataclasses import dataclass, field


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
