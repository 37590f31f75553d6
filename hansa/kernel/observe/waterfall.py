"""Waterfall: a trace as bars under each other, each where it began and as long as it took. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hansa.kernel.observe.archive import KeptSpan
from hansa.kernel.observe.reading import Kept
from hansa.kernel.structs import Struct


class Bar(Struct):
    """A segment, or something inside of one."""

    depth: int
    """How many bars it is under."""
    kind: str
    """Of a segment request, call, delivery or due; else sql, transaction, call, remote or
    outside."""
    name: str
    """An operation's name, or a statement's text."""
    begin_us: int
    """Since the first segment of the trace began; the clocks of two machines may differ."""
    took_us: int
    rows: int | None
    """How many rows a statement had; None for all else."""
    error: str
    segment: int
    """The place of its segment in what the bars were made of."""
    is_segment: bool


@dataclass
class _Node:
    kind: str
    name: str
    begin_us: int
    took_us: int
    rows: int | None
    error: str
    segment: int
    is_segment: bool = False
    inside: list["_Node"] = field(default_factory=list["_Node"])


def bars(kept: Sequence[Kept]) -> list[Bar]:
    """Return the bars of a trace as `Reader.trace` gives it, each below the one that it is part of
    or that has asked for it, in the order in which they began. What was asked for by something that
    is not kept has depth 0."""
    start_us = min((one.row.start_us for one in kept), default=0)
    roots: list[_Node] = []
    by_span: dict[str, _Node] = {}
    segments = [_segment(one, place, start_us, by_span) for place, one in enumerate(kept)]
    for node, one in zip(segments, kept, strict=True):
        above = by_span.get(one.row.above)
        (roots if above is None else above.inside).append(node)
    found: list[Bar] = []
    shown: set[int] = set()
    for root in [*roots, *segments]:  # only a circle is in none of the roots
        _show(root, found, shown)
    return found


def _segment(one: Kept, place: int, start_us: int, by_span: dict[str, _Node]) -> _Node:
    """Return the node of a segment with those inside of it, and note what can be asked from."""
    row = one.row
    error = one.detail.error.strip().rpartition("\n")[2]
    begin_us = row.start_us - start_us
    segment = _Node(row.kind, row.name, begin_us, row.took_us, None, error, place, is_segment=True)
    by_span[row.span] = segment
    nodes = [segment, *(_span(span, begin_us, place) for span in one.detail.spans)]
    for number, span in enumerate(one.detail.spans, start=1):
        nodes[span.under if 0 < span.under < number else 0].inside.append(nodes[number])
        if span.kind == "remote" and isinstance(span.note, str) and span.note:
            by_span[span.note] = nodes[number]
    return segment


def _span(span: KeptSpan, begin_us: int, place: int) -> _Node:
    rows = span.note if isinstance(span.note, int) and span.kind == "sql" else None
    return _Node(
        span.kind, str(span.name), begin_us + span.begin_us, span.took_us, rows, span.error, place
    )


def _show(root: _Node, found: list[Bar], shown: set[int]) -> None:
    stack = [(root, 0)]
    while stack:
        node, depth = stack.pop()
        if id(node) in shown:
            continue
        shown.add(id(node))
        found.append(
            Bar(
                depth, node.kind, node.name, node.begin_us, node.took_us, node.rows, node.error,
                node.segment, node.is_segment,
            )
        )  # fmt: skip
        inside = sorted(node.inside, key=lambda one: one.begin_us, reverse=True)
        stack += [(one, depth + 1) for one in inside]
