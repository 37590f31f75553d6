"""Spans: what happens inside of one piece of work in this process, noted as it happens.

A `Segment` is a request, a delivery or due work: the part of a trace that one process does. What is
inside of it (statements, transactions, calls) is a list of tuples, with names and texts but no
values. Where the code that runs belongs is in a context variable, so it is right across tasks.
"""

from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec

from hansa.kernel import machine
from hansa.kernel.observe.traceparent import Trace, new_span

Kind = Literal["request", "call", "delivery", "due"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

SPANS_MAX: Final = 400
"""Spans of one segment; of more only their number is kept."""
ERROR_LENGTH_MAX: Final = 8_000


class Span(NamedTuple):
    """Something inside of a segment, as it is read; it is noted as the bare tuple."""

    under: int
    """The number of the span around it, from 1; 0 is the segment itself."""
    kind: str
    """sql, transaction, call, remote or outside."""
    name: str
    """A statement's text, an operation's name."""
    began: float
    ended: float
    note: str | int
    """The number of rows; of a remote call the span's own name."""
    error: str


Noted = tuple[int, str, str, float, float, str | int, str]


class Segment(msgspec.Struct, gc=False):
    """One piece of work, from its beginning to its end."""

    kind: Kind
    name: str
    service: str
    site: str
    trace: Trace
    began: float
    ended: float = 0.0
    principal: str = ""
    status: int = 0
    failed: bool = False
    error: str = ""
    reason: str = ""
    """Why it is kept."""
    lost: int = 0
    """Spans above SPANS_MAX."""
    arguments: Any = None
    answer: Any = None
    returns: Any = None
    """The type that the answer was encoded from."""
    spans: list[Noted | None] = []  # msgspec gives each segment a list of its own
    """None stands for a span that has not ended."""
    others: int = 0
    """How many of the spans are no statements."""

    @property
    def took_us(self) -> int:
        """How long it took, in microseconds."""
        return int((self.ended - self.began) * 1_000_000)


Place = tuple[Segment, int]

current: Final[ContextVar[Place | None]] = ContextVar("hansa_span", default=None)
"""The segment of the code that runs, and the number of the span that it is in."""


def traceparent(otherwise: str) -> str:
    """Return what is passed on by the code that runs: its segment's, where there is one."""
    here = current.get()
    return otherwise if here is None else here[0].trace.parent


class Inside:
    """A span around the code of a `with`; nothing where nobody records."""

    __slots__ = ("_kind", "_name", "_number", "_place", "_token", "began", "note")

    def __init__(
        self, kind: Literal["transaction", "call", "remote", "outside"], name: str
    ) -> None:
        self._kind: Literal["transaction", "call", "remote", "outside"] = kind
        self._name = name
        self.note: str | int = ""

    def __enter__(self) -> "Inside":
        here = self._place = current.get()
        if here is None:
            return self
        segment = here[0]
        spans = segment.spans
        if len(spans) >= SPANS_MAX:
            segment.lost += 1
            self._place = None
            return self
        spans.append(None)
        segment.others += 1
        self._number = len(spans)
        self._token = current.set((segment, self._number))
        self.began = machine.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        here = self._place
        if here is None:
            return
        current.reset(self._token)
        told = "" if error is None else short(error)
        here[0].spans[self._number - 1] = (
            here[1], self._kind, self._name, self.began, machine.monotonic(), self.note, told
        )  # fmt: skip

    def traceparent(self, otherwise: str) -> str:
        """Return the traceparent of this span, to be sent to another process."""
        if self._place is None:
            return otherwise
        trace = self._place[0].trace
        self.note = new_span()
        return f"00-{trace.id}-{self.note}-{trace.flags}"


def short(error: BaseException) -> str:
    """Return an error in a line, for a span."""
    return f"{type(error).__name__}: {error}"[:500]
