"""Segments made by hand, for tests of what is done with them."""

from time import perf_counter
from typing import Any

from hansa.kernel.observe.spans import Kind, Noted, Segment
from hansa.kernel.observe.traceparent import Tracer

tracer = Tracer(0.0)


def segment(
    name: str = "shop.get_product", *, kind: Kind = "request", took_s: float = 0.001,
    began: float | None = None, traceparent: str = "", spans: list[Noted | None] | None = None,
    **more: Any,
) -> Segment:  # fmt: skip
    """Return a segment that has ended."""
    began = perf_counter() if began is None else began
    more = {"service": name.partition(".")[0], "site": "site_1", **more}
    return Segment(
        kind, name, trace=tracer.trace(traceparent), began=began, ended=began + took_s,
        spans=spans or [], **more,
    )  # fmt: skip
