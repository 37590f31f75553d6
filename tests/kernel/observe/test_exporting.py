"""Kept segments reach a collector over OTLP/HTTP, as OpenTelemetry's own messages read them."""

import base64
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any, Final

import pytest
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from hansa.kernel.observe import exporting
from hansa.kernel.observe.exporting import WAITING_MAX, Exporter
from hansa.kernel.observe.spans import Segment
from tests.kernel.observe.making import segment

WAIT_S = 30.0
Post = tuple[str, dict[str, str], bytes]
Said = tuple[int, dict[str, str], bytes]
FINE: Final[Said] = (200, {}, b"{}")


class Collector:
    """A collector that answers what it is told to, then 200."""

    def __init__(self) -> None:
        self.posts: Queue[Post] = Queue()
        self.answers: list[Said] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, more, said = FINE
                if collector.answers:
                    status, more, said = collector.answers.pop(0)
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)
                collector.posts.put((self.path, headers, body))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def request(self) -> ExportTraceServiceRequest:
        """Return the next export, decoded."""
        _, _, body = self.posts.get(timeout=WAIT_S)
        request = ExportTraceServiceRequest()
        Parse(gzip.decompress(body), request)
        return request


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join(WAIT_S)


@contextmanager
def exporting_to(collector: Collector, **more: Any) -> Iterator[Exporter]:
    exporter = Exporter(collector.url, service="town", process="town-1", **more)
    exporter.start()
    try:
        yield exporter
    finally:
        exporter.stop()


def hexadecimal(identifier: bytes) -> str:
    """OTLP's JSON has identifiers in hexadecimal, where protobuf's own would have base64."""
    return base64.b64encode(identifier).decode()


def spans_of(request: ExportTraceServiceRequest) -> list[trace_pb2.Span]:
    return [one for r in request.resource_spans for s in r.scope_spans for one in s.spans]


def test_a_collector_reads_all_of_it(collector: Collector) -> None:
    one = segment(
        status=503, failed=True, error="Traceback\nZeroDivisionError: no\n", reason="error",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", began=100.0,
        took_s=0.5, lost=3,
        spans=[
            (0, "transaction", "", 100.1, 100.4, "", ""),
            (1, "sql", "select a from b", 100.2, 100.3, 7, ""),
            None,
            (0, "remote", "sites.get", 100.41, 100.42, "00f067aa0ba902b9", "TimeoutError: "),
        ],
    )  # fmt: skip
    with exporting_to(collector, headers=[("api-key", "k")]) as exporter:
        exporter.take([one, segment("mail.post", kind="due")], 1_000_000)
        path, headers, body = collector.posts.get(timeout=WAIT_S)
        collector.posts.put((path, headers, body))
        request = collector.request()
    assert path == "/v1/traces"
    assert headers["content-type"] == "application/json"
    assert (headers["content-encoding"], headers["api-key"]) == ("gzip", "k")
    (resource,) = request.resource_spans
    attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert attributes == {"service.name": "town", "service.instance.id": "town-1"}
    assert [scope.scope.name for scope in resource.scope_spans] == ["shop", "mail"]
    root, transaction, statement, remote = resource.scope_spans[0].spans
    assert hexadecimal(root.trace_id) == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert hexadecimal(root.parent_span_id) == "00f067aa0ba902b7"
    assert hexadecimal(root.span_id) == one.trace.span
    assert (root.name, root.kind) == ("shop.get_product", trace_pb2.Span.SPAN_KIND_SERVER)
    assert root.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert root.start_time_unix_nano == 101_000_000_000
    assert root.end_time_unix_nano - root.start_time_unix_nano == 500_000_000
    values = {a.key: a.value for a in root.attributes}
    assert values["http.response.status_code"].int_value == 503
    assert values["hansa.site"].string_value == "site_1"
    assert values["hansa.spans_lost"].int_value == 3
    assert transaction.parent_span_id == root.span_id == remote.parent_span_id
    assert statement.parent_span_id == transaction.span_id
    assert statement.name == "SELECT"
    assert hexadecimal(remote.span_id) == "00f067aa0ba902b9"
    assert remote.kind == trace_pb2.Span.SPAN_KIND_CLIENT
    assert (exporter.sent, exporter.lost) == (2, 0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "WAIT_S", 0.001)


@pytest.mark.usefixtures("quick")
def test_what_may_be_tried_again_is(collector: Collector) -> None:
    collector.answers = [(429, {}, b""), (502, {}, b""), (503, {"retry-after": "0"}, b"")]
    with exporting_to(collector) as exporter:
        exporter.take([segment()], 0)
        bodies = [collector.posts.get(timeout=WAIT_S)[2] for _ in range(4)]
    assert len(set(bodies)) == 1
    assert (exporter.sent, exporter.lost) == (1, 0)


def test_what_is_refused_is_let_go(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    collector.answers = [(400, {}, b""), (401, {}, b"")]
    with exporting_to(collector) as exporter:
        for _ in range(3):
            exporter.take([segment()], 0)
            collector.posts.get(timeout=WAIT_S)
    assert (exporter.sent, exporter.lost) == (1, 2)
    assert len(caplog.records) == 1  # told once, not a thousand times


def test_what_a_collector_rejects_is_counted(collector: Collector) -> None:
    """OTLP, "Partial Success"."""
    collector.answers = [
        (200, {}, b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}')
    ]
    with exporting_to(collector) as exporter:
        exporter.take([segment()], 0)
        collector.posts.get(timeout=WAIT_S)
    assert exporter.rejected == 2


@pytest.mark.usefixtures("quick")
def test_nobody_is_there() -> None:
    exporter = Exporter("http://127.0.0.1:9/v1/traces", timeout_s=1)
    exporter.start()
    exporter.take([segment()], 0)
    exporter.stop()
    assert (exporter.sent, exporter.lost) == (0, 1)


def test_what_waits_has_a_bound() -> None:
    exporter = Exporter("http://127.0.0.1:9/v1/traces")
    many: list[Segment] = [segment()] * (WAITING_MAX + 5)
    exporter.take(many, 0)
    assert exporter.lost == 5
