"""Recorder: follows every piece of work of a process, counts it, and hands on what is to be kept.

All its methods belong to the event loop and wait for nothing. What is not kept stays in a ring for
a moment, so that when a later part of the same trace fails, the earlier ones are there as well.
"""

import logging
import traceback
from collections import deque
from collections.abc import Callable
from itertools import chain
from types import TracebackType
from typing import Any, Final

from hansa.kernel import machine
from hansa.kernel.observe.choosing import Budget, Reason, reason
from hansa.kernel.observe.spans import ERROR_LENGTH_MAX, Kind, Segment, current
from hansa.kernel.observe.statements import Statements
from hansa.kernel.observe.traceparent import SAMPLED, Trace, Tracer
from hansa.kernel.observe.vitals import Vital
from hansa.kernel.problems import Problem
from hansa.kernel.storage import Storage

logger = logging.getLogger("hansa.observe")

RING: Final = 1_024
"""Segments that were not kept, but may be still."""
BATCH: Final = 256
"""Segments that are counted at once; the observer sees to the rest after a moment."""
OTHERS: Final = "(others)"
EDGES_MAX: Final = 10_000
NAMES_MAX: Final = 20_000
"""Names that are counted one by one: more than a process declares."""
CONFLICTS: Final = frozenset({"40001", "40P01"})
"""PostgreSQL's codes for a transaction that lost against another one, and is run again."""
PAYLOAD_BYTES_MAX: Final = 1 << 16
"""A larger body or answer is not held on to."""

Keep = Callable[[Segment], None]


class Recorder:
    """The recorder of a process."""

    def __init__(
        self, *, sample: float = 0.01, payloads: bool = False, keep: Keep | None = None
    ) -> None:
        """Keep a share of new traces in any case; `keep` takes what is kept and must be quick."""
        self.tracer = Tracer(sample)
        self.statements = Statements()
        self.vitals: dict[Kind, dict[str, Vital]] = {
            "request": {}, "call": {}, "delivery": {}, "due": {},
        }  # fmt: skip
        self.edges: dict[tuple[str, str, str], int] = {}
        """How often one service asked another or heard of it: (from, to, what)."""
        self.kept = 0
        self.over_budget = 0
        self.payloads = payloads
        self.keep = keep
        self._budget = Budget()
        self._ring: deque[Segment] = deque(maxlen=RING)
        self._ended: list[Segment] = []

    def observe(self, storage: Storage) -> None:
        """Have a storage note its statements."""
        self.statements = storage.statements
        self.statements.noted = True

    # ---- work

    def begin(self, kind: Kind, name: str, service: str, site: str, trace: Trace) -> Segment:
        """Begin a piece of work; `end` it whatever happens."""
        return Segment(kind, name, service, site, trace, machine.monotonic())

    def end(self, segment: Segment) -> None:
        """Take a piece of work that has ended. Counting waits until there are many: done one by one
        between requests, out of the processor's caches, it would cost thrice as much."""
        segment.ended = machine.monotonic()
        self._ended.append(segment)
        if len(self._ended) >= BATCH:
            self.settle()

    def settle(self) -> None:
        """Count what has ended, and decide what of it is kept."""
        batch, self._ended = self._ended, []
        self.statements.count(chain.from_iterable(segment.spans for segment in batch))
        for segment in batch:
            vital = self.vitals[segment.kind].get(segment.name) or self._vital(segment)
            slow_us = vital.slow_us
            took_us = int((segment.ended - segment.began) * 1_000_000)
            others = segment.others
            vital.add(took_us, len(segment.spans) - others)
            trace = segment.trace
            if (
                took_us >= slow_us or trace.flags in SAMPLED or segment.status >= 400
                or segment.failed or others or trace.above
            ):  # fmt: skip
                self._look_at(segment, vital, took_us, slow_us)

    def _look_at(self, segment: Segment, vital: Vital, took_us: int, slow_us: int) -> None:
        """Count what did not end well, and keep a segment if there is a reason to, or may be."""
        trace, status = segment.trace, segment.status
        if segment.failed or status >= 500:
            segment.failed = True
            vital.failed += 1
        elif status >= 400:
            vital.refused += 1
        # Who is not known has asked for nothing.
        sampled = trace.flags in SAMPLED and (status != 401 or not trace.above)
        why = reason(segment.failed, took_us, slow_us, sampled)
        if why is None or not self._take(segment, why):
            # What asked nobody and was asked by nobody has no other part that could still fail.
            if segment.others or trace.above:
                self._remember(segment)
        elif why == "error":
            self._keep_earlier(trace.id)

    def _vital(self, segment: Segment) -> Vital:
        """Return the counts of a name that is new; of too many, those of all others together."""
        vitals = self.vitals[segment.kind]
        name = segment.name if len(vitals) < NAMES_MAX else OTHERS
        return vitals.setdefault(name, Vital())

    def _remember(self, segment: Segment) -> None:
        if self.payloads:
            segment.arguments = segment.answer = None
        self._ring.append(segment)

    def _take(self, segment: Segment, why: Reason) -> bool:
        """Hand a segment on to be kept, if the budget allows."""
        if not self._budget.take(why, segment.ended):
            self.over_budget += 1
            return False
        segment.reason = why
        self.kept += 1
        if self.keep is not None:
            self.keep(segment)
        return True

    def _keep_earlier(self, trace: str) -> None:
        """Keep what the ring has of a trace that has failed now."""
        related = [one for one in self._ring if one.trace.id == trace]
        if related:
            others = (one for one in self._ring if one.trace.id != trace)
            self._ring = deque(others, maxlen=RING)
        for one in related:
            self._take(one, "related")

    # ---- the flow between services

    def edge(self, origin: str, target: str, what: str) -> None:
        """Count that one service asked another, or took its event."""
        name = (origin, target, what)
        if name in self.edges or len(self.edges) < EDGES_MAX:
            self.edges[name] = self.edges.get(name, 0) + 1

    # ---- work that is a block of code

    def work(self, kind: Kind, name: str, service: str, site: str, traceparent: str) -> "Work":
        """Return what records the code of a `with` as one piece of work."""
        return Work(self, kind, name, service, site, traceparent)


class Work:
    """A piece of work around a block of code, in the trace of who asked for it."""

    __slots__ = ("_of", "_recorder", "_segment", "_token")

    def __init__(self, recorder: Recorder | None, *of: Any) -> None:
        self._recorder = recorder
        self._of = of
        self._segment: Segment | None = None

    def __enter__(self) -> Segment | None:
        recorder = self._recorder
        if recorder is None:
            return None
        kind, name, service, site, traceparent = self._of
        trace = recorder.tracer.trace(traceparent)
        self._segment = recorder.begin(kind, name, service, site, trace)
        self._token = current.set((self._segment, 0))
        return self._segment

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        if self._recorder is None or self._segment is None:
            return
        current.reset(self._token)
        if error is not None:
            failed(self._segment, error)
        self._recorder.end(self._segment)


def work(
    recorder: Recorder | None, kind: Kind, name: str, service: str, site: str, traceparent: str
) -> Work:
    """Return what records the code of a `with`; nothing without a recorder."""
    return Work(recorder, kind, name, service, site, traceparent)


def failed(segment: Segment | None, error: BaseException) -> None:
    """Note what a piece of work ended with: a refusal, or a failure with where it came from. What
    was cancelled, or begins again, is neither."""
    if segment is None:
        return
    if not isinstance(error, Exception) or getattr(error, "sqlstate", "") in CONFLICTS:
        segment.error = type(error).__name__
        return
    if isinstance(error, Problem) and error.status < 500:
        segment.status = error.status
        segment.error = f"{error.slug}: {error.detail}"[:ERROR_LENGTH_MAX]
        return
    segment.failed = True
    segment.status = error.status if isinstance(error, Problem) else 500
    lines = traceback.format_exception(error, limit=-12)
    segment.error = "".join(lines)[-ERROR_LENGTH_MAX:]
