"""Prometheus: the counts of a process as text for a scraper. Pure.

Source: the text-based exposition format 0.0.4 (prometheus.io, "Exposition formats").
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hansa.kernel.observe.recorder import Recorder
from hansa.kernel.observe.vitals import BUCKETS, Vital, begins_us

TYPE: Final = ("content-type", "text/plain; version=0.0.4; charset=utf-8")
NEEDS: Final = "observe.metrics:read"
"""The permission that it takes to scrape at the address that the public has, too."""
EDGES_S: Final = tuple(begins_us(number) / 1_000_000 for number in range(32, 108, 4))
"""The bounds of the buckets: octaves from 0.5 ms to 2 minutes."""
_FIRST: Final = 32
WORK: Final = {
    "request": ("operation", "Requests over HTTP"),
    "call": ("operation", "Calls from other processes"),
    "delivery": ("subscriber", "Events given to subscribers"),
    "due": ("name", "Due work done"),
}

Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]


def exposition(recorder: Recorder, gauges: Iterable[tuple[str, str, float]]) -> bytes:
    """Return the counts of a recorder, and gauges as (name, help, value)."""
    lines: list[str] = []
    for kind, (label, about) in WORK.items():
        vitals = recorder.vitals[kind]  # type: ignore[index]
        plural = {"delivery": "deliveries"}.get(kind, f"{kind}s" if kind != "due" else "due")
        outcomes: list[Sample] = []
        times: list[str] = []
        for name, vital in sorted(vitals.items()):
            outcomes += _outcomes(f"hansa_{plural}_total", label, name, vital)
            times += _histogram(f"hansa_{kind}_duration_seconds", label, name, vital)
        lines += _family(
            f"hansa_{plural}_total", "counter", f"{about}, by how they ended.", outcomes
        )
        if times:
            lines += _head(f"hansa_{kind}_duration_seconds", "histogram", "How long they took.")
            lines += times
    statements = recorder.statements.by_text.values()
    counted: Sequence[tuple[str, str, float]] = (
        ("hansa_statements_total", "Statements run.", sum(s.count for s in statements)),
        ("hansa_statement_seconds_total", "Their time.", sum(s.total_s for s in statements)),
        ("hansa_traces_kept_total", "Parts of traces that were kept.", recorder.kept),
        ("hansa_traces_over_budget_total", "Parts that were not, for there were too many.",
         recorder.over_budget),
    )  # fmt: skip
    for name, about, value in counted:
        lines += _family(name, "counter", about, [(name, {}, value)])
    edges = [
        ("hansa_edges_total", {"from": origin, "to": target, "what": what}, float(count))
        for (origin, target, what), count in sorted(recorder.edges.items())
    ]
    lines += _family("hansa_edges_total", "counter", "Calls and events between services.", edges)
    for name, about, value in gauges:
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += _family(name, kind, about, [(name, {}, value)])
    return ("\n".join(lines) + "\n").encode()


def _outcomes(metric: str, label: str, name: str, vital: Vital) -> list[Sample]:
    fine = vital.count - vital.failed - vital.refused
    return [
        (metric, {label: name, "outcome": outcome}, float(count))
        for outcome, count in (("ok", fine), ("refused", vital.refused), ("failed", vital.failed))
    ]


def _histogram(metric: str, label: str, name: str, vital: Vital) -> list[str]:
    lines: list[str] = []
    seen = sum(vital.counts[:_FIRST])
    for place, bound_s in enumerate(EDGES_S):
        if place:
            begin = _FIRST + 4 * (place - 1)
            seen += sum(vital.counts[begin : begin + 4])
        lines.append(_sample(f"{metric}_bucket", {label: name, "le": f"{bound_s:g}"}, seen))
    seen = sum(vital.counts[:BUCKETS])
    lines.append(_sample(f"{metric}_bucket", {label: name, "le": "+Inf"}, seen))
    lines.append(_sample(f"{metric}_sum", {label: name}, vital.total_us / 1_000_000))
    lines.append(_sample(f"{metric}_count", {label: name}, seen))
    return lines


def _family(name: str, kind: str, about: str, samples: Sequence[Sample]) -> list[str]:
    if not samples:
        return []
    return [*_head(name, kind, about), *(_sample(*one) for one in samples)]


def _head(name: str, kind: str, about: str) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]


def _sample(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    number = f"{value:.0f}" if float(value).is_integer() else repr(float(value))
    return f"{name}{{{inside}}} {number}" if inside else f"{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
