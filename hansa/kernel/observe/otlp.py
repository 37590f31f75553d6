"""OTLP: segments as OpenTelemetry's protocol has them, encoded as JSON. Pure.

Source: OpenTelemetry Protocol 1.7, "OTLP/HTTP", JSON Protobuf Encoding: names in lowerCamelCase,
identifiers in hexadecimal, 64-bit integers as text, enumerations as numbers.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hansa.kernel.observe.spans import Segment, Span
from hansa.kernel.observe.traceparent import new_span

SERVER, CLIENT, INTERNAL, CONSUMER = 2, 3, 1, 5
_SEGMENT_KIND: Final = {"request": SERVER, "call": SERVER, "delivery": CONSUMER, "due": CONSUMER}
ERROR: Final = 2
STATEMENT_LENGTH_MAX: Final = 2_000


def request(segments: Sequence[Segment], offset_us: int, service: str, process: str) -> bytes:
    """Return the body of an export; `offset_us` is what makes the segments' times those of the
    machine's clock."""
    scopes: dict[str, list[dict[str, Any]]] = {}
    for one in segments:
        scopes.setdefault(one.service or "hansa", []).extend(_spans(one, offset_us))
    resource = _attributes({"service.name": service, "service.instance.id": process})
    document = {
        "resourceSpans": [
            {
                "resource": {"attributes": resource},
                "scopeSpans": [
                    {"scope": {"name": name}, "spans": spans} for name, spans in scopes.items()
                ],
            }
        ]
    }
    return msgspec.json.encode(document)


def _spans(segment: Segment, offset_us: int) -> list[dict[str, Any]]:
    spans = [None if noted is None else Span(*noted) for noted in segment.spans]
    names = [segment.trace.span, *(_name(span) for span in spans)]
    found = [_segment(segment, offset_us)]
    for number, span in enumerate(spans, start=1):
        if span is not None:
            found.append(_span(segment.trace.id, names[number], names[span.under], span, offset_us))
    return found


def _name(span: Span | None) -> str:
    """Return a span's name: the one that another process knows, or a new one."""
    return str(span.note) if span is not None and span.kind == "remote" else new_span()


def _segment(segment: Segment, offset_us: int) -> dict[str, Any]:
    trace = segment.trace
    attributes: dict[str, Any] = {
        "hansa.site": segment.site,
        "hansa.kind": segment.kind,
        "hansa.kept": segment.reason,
    }
    if segment.lost:
        attributes["hansa.spans_lost"] = segment.lost
    if segment.kind == "request" and segment.status:
        attributes["http.response.status_code"] = segment.status
    found: dict[str, Any] = {
        "traceId": trace.id,
        "spanId": trace.span,
        "name": segment.name,
        "kind": _SEGMENT_KIND[segment.kind],
        "startTimeUnixNano": _nano(segment.began, offset_us),
        "endTimeUnixNano": _nano(segment.ended, offset_us),
        "attributes": _attributes(attributes),
        "flags": int(trace.flags, 16),
    }
    if trace.above:
        found["parentSpanId"] = trace.above
    if segment.failed:
        found["status"] = {"code": ERROR, "message": segment.error[-500:]}
    return found


def _span(trace: str, name: str, above: str, span: Span, offset_us: int) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    title = span.name
    if span.kind == "sql":
        title = span.name.split(None, 1)[0].upper() if span.name else "sql"
        attributes["db.query.text"] = span.name[:STATEMENT_LENGTH_MAX]
        attributes["db.response.returned_rows"] = span.note
    found: dict[str, Any] = {
        "traceId": trace,
        "spanId": name,
        "parentSpanId": above,
        "name": title or span.kind,
        "kind": INTERNAL if span.kind in ("call", "transaction") else CLIENT,
        "startTimeUnixNano": _nano(span.began, offset_us),
        "endTimeUnixNano": _nano(span.ended, offset_us),
        "attributes": _attributes(attributes),
    }
    if span.error:
        found["status"] = {"code": ERROR, "message": span.error}
    return found


def _nano(at_s: float, offset_us: int) -> str:
    return str((int(at_s * 1_000_000) + offset_us) * 1_000)


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "key": key,
            "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value},
        }
        for key, value in values.items()
        if value != ""
    ]
