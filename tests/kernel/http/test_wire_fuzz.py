"""Anything may come through a real granian: never a 500, and no count is left behind."""

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.server import serve
from hansa.kernel.problems import TYPE_ROOT
from tests.kernel.http.backend import EchoBackend
from tests.kernel.http.test_fuzz import BODIES, PATHS, PIECES, QUERIES

METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"BREW"])
NAMES = st.sampled_from(
    [
        b"Idempotency-Key", b"Hansa-Deadline-Ms", b"Hansa-Site", b"Hansa-Position", b"traceparent",
        b"If-None-Match", b"Authorization", b"Content-Encoding", b"Content-Type", b"Host",
        b"Accept", b"Expect",
    ]
)  # fmt: skip
# Whatever may stand in a line: granian, not we, splits the lines.
VALUES = st.one_of(
    st.binary(max_size=20).map(lambda value: value.translate(None, b"\r\n")),
    st.sampled_from([b"application/json", b"Bearer full", b"100-continue", b"0", b"*", b'"a"']),
)
HEADERS = st.lists(st.tuples(NAMES, VALUES).map(b": ".join), max_size=4)
TARGETS = st.builds(
    lambda path, more, query: (path + more + b"?" + query).translate(None, b"\r\n\t "),
    PATHS, PIECES, QUERIES | PIECES,
)  # fmt: skip


@dataclass
class Running:
    port: int
    app: HttpApp


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """A server in a thread of its own, so that tests may be plain functions."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = threading.Event()
    ends: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    app = HttpApp(EchoBackend())

    async def main() -> None:
        stop = asyncio.Event()
        ends.append((asyncio.get_running_loop(), stop))
        await serve(app, "127.0.0.1", port, on_started=started.set, stop=stop)

    thread = threading.Thread(target=uvloop.run, args=(main(),))
    thread.start()
    assert started.wait(20)
    yield Running(port, app)
    loop, stop = ends[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    assert not thread.is_alive()


def framed(body: bytes, cut: int | None) -> bytes:
    """Return the rest of a request: with its length, or in two chunks cut somewhere."""
    if cut is None:
        return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    chunks = [chunk for chunk in (body[:cut], body[cut:]) if chunk]
    coded = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"Transfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n"


def answered(running: Running, method: bytes, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as wire:
        wire.sendall(data)
        reply = http.client.HTTPResponse(wire, method=method.decode())
        reply.begin()
        body = reply.read()
    assert 200 <= reply.status < 500, (reply.status, body)
    if reply.status >= 400 and body:
        document = msgspec.json.decode(body)
        assert document["status"] == reply.status
        assert document["type"].startswith(TYPE_ROOT)
        assert document["instance"] == reply.headers["hansa-request-id"]
    elif reply.status >= 400 and method != b"HEAD":
        assert reply.status in (400, 414, 431), "only what is no HTTP is refused without a document"
    gate = running.app.gate
    assert (gate.inside, gate.buffered, gate.sites) == (0, 0, {})


@given(
    method=METHODS, target=TARGETS, headers=HEADERS, body=BODIES,
    cut=st.none() | st.integers(0, 20),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_any_request(
    running: Running,
    method: bytes,
    target: bytes,
    headers: list[bytes],
    body: bytes,
    cut: int | None,
) -> None:
    lines = [b"%s %s HTTP/1.1" % (method, target), b"Connection: close", *headers]
    answered(running, method, b"\r\n".join(lines) + b"\r\n" + framed(body, cut))


@given(body=BODIES, number=st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_body(running: Running, body: bytes, number: bool) -> None:
    path = b"/shop/number" if number else b"/shop/baskets"
    head = b"POST %s HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\n" % path
    answered(running, b"POST", head + framed(body, None))
