"""The page for scrapers, read by the official parser; and who may read it."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from hansa.kernel.caller import PUBLIC_PRINCIPAL, Caller, Principal
from hansa.kernel.http.app import HttpApp
from hansa.kernel.observe.prometheus import NEEDS, TYPE, WORK, exposition
from hansa.kernel.observe.recorder import Recorder
from hansa.kernel.observe.scraping import MetricsPort
from hansa.kernel.storage import PLATFORM
from tests.kernel.http.backend import EchoBackend
from tests.kernel.http.client import AsgiClient
from tests.kernel.observe.making import segment


def samples(page: bytes) -> Iterator[tuple[str, Sample]]:
    for family in text_string_to_metric_families(page.decode()):
        for one in family.samples:
            yield family.type, one


def test_counts_and_times() -> None:
    recorder = Recorder(sample=0.0)
    for took_s in (0.0001, 0.0004, 0.002, 0.1, 500.0):
        recorder.end(counted := segment(took_s=took_s))
        counted.ended = counted.began + took_s
    recorder.end(segment(status=404))
    recorder.end(segment(failed=True))
    for kind in WORK:
        recorder.end(segment(f"{kind}.it", kind=kind))  # type: ignore[arg-type]
    recorder.edge("shop", "sites", "sites.get")
    recorder.settle()
    found = {
        (one.name, *sorted(one.labels.items())): one.value
        for _, one in samples(exposition(recorder, [("hansa_loop_lag_seconds", "Lag.", 0.25)]))
    }
    operation = ("operation", "shop.get_product")
    assert found["hansa_requests_total", operation, ("outcome", "ok")] == 5
    assert found["hansa_requests_total", operation, ("outcome", "refused")] == 1
    assert found["hansa_requests_total", operation, ("outcome", "failed")] == 1
    assert found["hansa_request_duration_seconds_count", operation] == 7
    assert 500.1 < found["hansa_request_duration_seconds_sum", operation] < 500.11
    bounds = {
        float(one.labels["le"]): one.value
        for _, one in samples(exposition(recorder, []))
        if one.name == "hansa_request_duration_seconds_bucket"
        and one.labels["operation"] == operation[1]
    }
    assert bounds[float("inf")] == 7
    assert bounds[max(one for one in bounds if one < float("inf"))] == 6
    assert bounds[0.000512] == 4
    assert list(bounds.values()) == sorted(bounds.values())
    assert found["hansa_deliveries_total", ("outcome", "ok"), ("subscriber", "delivery.it")] == 1
    assert found["hansa_due_total", ("name", "due.it"), ("outcome", "ok")] == 1
    assert found["hansa_edges_total", ("from", "shop"), ("to", "sites"), ("what", "sites.get")] == 1
    assert found["hansa_loop_lag_seconds",] == 0.25


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=5))
def test_any_name_is_read_back(names: list[str]) -> None:
    recorder = Recorder(sample=0.0)
    for name in names:
        recorder.end(segment(name))
    recorder.settle()
    found = {
        one.labels["operation"]
        for _, one in samples(exposition(recorder, []))
        if one.name == "hansa_requests_total"
    }
    assert found == set(names)


def test_families_have_their_types() -> None:
    recorder = Recorder()
    recorder.end(segment())
    recorder.settle()
    types = {
        family.name: family.type
        for family in text_string_to_metric_families(exposition(recorder, []).decode())
    }
    assert types["hansa_requests"] == "counter"
    assert types["hansa_request_duration_seconds"] == "histogram"
    assert "unknown" not in types.values()


KEYS = {
    "": PUBLIC_PRINCIPAL,
    "Bearer site": Principal("key_1", frozenset({"*"}), "key", "site_1"),
    "Bearer poor": Principal("key_2", frozenset({"sites.*"}), "key", PLATFORM),
    "Bearer rich": Principal("key_3", frozenset({"*"}), "key", PLATFORM),
    "Bearer scraper": Principal("key_4", frozenset({NEEDS}), "key", PLATFORM),
}


async def page() -> bytes:
    return exposition(Recorder(), [])


class Keys(EchoBackend):
    async def authenticate(self, authorization: str, host: str, site: str) -> Caller:
        return Caller(site or PLATFORM, KEYS[authorization])


@pytest.mark.parametrize(
    ("authorization", "status"),
    [("", 401), ("Bearer site", 403), ("Bearer poor", 403), ("Bearer rich", 200),
     ("Bearer scraper", 200)],
)  # fmt: skip
def test_the_page_is_for_operators(authorization: str, status: int) -> None:
    app = HttpApp(Keys())
    app.metrics = page
    headers = {"authorization": authorization} if authorization else {}
    reply = asyncio.run(AsgiClient(app).send("GET", "/metrics", b"", headers))
    assert reply.status == status
    if status == 200:
        assert reply.headers["content-type"] == TYPE[1]
        assert list(samples(reply.body))


def test_there_is_no_page_where_nothing_is_recorded() -> None:
    reply = asyncio.run(AsgiClient(HttpApp(Keys())).send("GET", "/metrics"))
    assert (reply.status, reply.slug) == (404, "no-such-path")


async def ask(port: int, sent: bytes) -> tuple[str, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.decode(), body


def test_a_port_of_its_own_needs_no_key() -> None:
    async def run() -> None:
        port = MetricsPort("127.0.0.1", 0, page)
        await port.start()
        try:
            head, body = await ask(port.port, b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert head.startswith("HTTP/1.1 200 OK") and TYPE[1] in head
            assert list(samples(body))
            head, body = await ask(port.port, b"HEAD /metrics HTTP/1.0\r\n\r\n")
            assert head.startswith("HTTP/1.1 200") and not body
            for sent, status in (
                (b"GET / HTTP/1.1\r\n\r\n", 404),
                (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
                (b"\x16\x03\x01 hello\r\n\r\n", 400),
                (b"GET /metrics HTTP/1.1\r\n" + b"x" * 20_000 + b"\r\n\r\n", 431),
            ):
                head, _ = await ask(port.port, sent)
                assert head.startswith(f"HTTP/1.1 {status} "), head
        finally:
            port.stop()

    asyncio.run(run())
