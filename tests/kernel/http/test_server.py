"""A real granian on a real socket: what clients and networks do to it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec
import pytest
import uvloop

from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.limits import Limits
from hansa.kernel.http.mounts import AsgiApp, Message, Receive, Send
from hansa.kernel.http.server import HEAD_BYTES_MAX, AddressTaken, serve
from hansa.kernel.load import Load
from tests.kernel.http.backend import EchoBackend

HOST = b"Host: shop.example\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"
CHUNKED = JSON + b"Transfer-Encoding: chunked\r\n\r\n"


class Served:
    """A running server, and a client that speaks bytes."""

    def __init__(
        self, app: HttpApp, port: int, stop: asyncio.Event, task: "asyncio.Task[None]"
    ) -> None:
        self.app = app
        self.port = port
        self.stop = stop
        self.task = task

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def send(self, data: bytes, *, half_close: bool = False) -> tuple[int, Message, bytes]:
        reader, writer = await self.open()
        writer.write(data)
        if half_close:
            writer.write_eof()
        try:
            return await answer(reader)
        finally:
            writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, Message, bytes]:
    """Read one answer: its status, headers and body."""
    async with asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers: Message = {}
        for line in head[1:-2]:
            name, _, value = line.partition(": ")
            assert name not in headers or name == "set-cookie", f"{name} twice"
            headers[name] = [*headers.get(name, []), value] if name == "set-cookie" else value
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        else:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body


@contextlib.asynccontextmanager
async def serving(
    backend: EchoBackend,
    *,
    limits: Limits | None = None,
    load: Load | None = None,
    apps: dict[str, AsgiApp] | None = None,
    **waits: float,
) -> AsyncIterator[Served]:
    app = HttpApp(backend, limits=limits, load=load)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started, stop = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(
        serve(app, "127.0.0.1", port, mounts=apps, on_started=started.set, stop=stop, **waits)
    )
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield Served(app, port, stop, task)
    finally:
        stop.set()
        await task


def run(test: Callable[[Served], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        async with serving(options.pop("backend", None) or EchoBackend(), **options) as served:
            await test(served)

    uvloop.run(main())


def problem(reply: tuple[int, Message, bytes]) -> str:
    status, headers, body = reply
    assert headers["content-type"] == "application/problem+json"
    document = msgspec.json.decode(body)
    assert document["status"] == status
    kind: str = document["type"]
    return kind.rpartition("/")[2]


def test_answers() -> None:
    async def test(served: Served) -> None:
        get = b"GET /shop/products/caf%C3%A9 HTTP/1.1\r\n" + HOST + b"\r\n"
        status, headers, body = await served.send(get)
        assert (status, msgspec.json.decode(body)["handle"]) == (200, "café")
        assert headers["etag"] and headers["hansa-request-id"]
        again = b"GET /shop/products/caf%C3%A9 HTTP/1.1\r\n" + HOST
        again += b"If-None-Match: " + headers["etag"].encode() + b"\r\n\r\n"
        assert (await served.send(again))[0] == 304
        post = b'POST /shop/baskets HTTP/1.1\r\nContent-Length: 12\r\n%s\r\n{"lines":[]}' % JSON
        assert (await served.send(post))[0] == 201
        delete = b"DELETE /shop/baskets/x HTTP/1.1\r\n" + HOST + b"\r\n"
        assert (await served.send(delete))[0] == 204
        assert (await served.send(b"GET /shop/products/a HTTP/1.0\r\n\r\n"))[0] == 200

    run(test)


def test_head_keeps_the_connection_in_step() -> None:
    async def test(served: Served) -> None:
        reader, writer = await served.open()
        writer.write(b"HEAD /shop/products/a HTTP/1.1\r\n" + HOST + b"\r\n")
        writer.write(b"GET /shop/products/a HTTP/1.1\r\n" + HOST + b"\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        status, headers, body = await answer(reader)
        assert status == 200 and len(body) > 0
        assert b"content-length: %d\r\n" % len(body) in head
        assert headers["etag"].encode() in head
        writer.close()

    run(test)


@pytest.mark.parametrize(
    ("data", "slug"),
    [
        (b"GET /shop/products/x HTTP/1.1\r\n" + HOST + b"Host: other\r\n\r\n", "invalid-host"),
        (b"GET /shop/products/%ff HTTP/1.1\r\n" + HOST + b"\r\n", "invalid-request"),
        (b"GET /shop/products/%00 HTTP/1.1\r\n" + HOST + b"\r\n", "invalid-request"),
        (b"GET /shop/find?q=%ff HTTP/1.1\r\n" + HOST + b"\r\n", "invalid-request"),
        (b"GET /shop/../products HTTP/1.1\r\n" + HOST + b"\r\n", "no-such-path"),
        (b"GET //shop/products HTTP/1.1\r\n" + HOST + b"\r\n", "no-such-path"),
        (b"BREW /shop/products HTTP/1.1\r\n" + HOST + b"\r\n", "method-not-allowed"),
        (b"CONNECT shop:1 HTTP/1.1\r\nHost: shop:1\r\n\r\n", "no-such-path"),
        (b"GET /shop/products/%s HTTP/1.1\r\n%s\r\n" % (b"a" * 5000, HOST), "uri-too-long"),
        (b"POST /shop/baskets HTTP/1.1\r\n" + JSON + b"\r\n", "body-missing"),
        (
            b"DELETE /shop/baskets/x HTTP/1.1\r\nIdempotency-Key: caf\xc3\xa9\r\n" + HOST + b"\r\n",
            "invalid-idempotency-key",
        ),
        (
            b"GET /shop/products/x HTTP/1.1\r\nAuthorization: caf\xc3\xa9\r\n" + HOST + b"\r\n",
            "unauthenticated",
        ),
        (b"POST /shop/hook HTTP/1.1\r\n" + CHUNKED + b"1\r\nx\r\n0\r\n\r\n", "length-required"),
        (
            b"POST /shop/baskets HTTP/1.1\r\nContent-Length: 99999999999\r\n%s\r\n{" % JSON,
            "too-large",
        ),
        (
            b"POST /shop/baskets HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 70000\r\n"
            + JSON + b"\r\n",
            "too-large",
        ),
        (
            b"POST /shop/baskets HTTP/1.1\r\n" + CHUNKED
            + (b"8000\r\n" + b"[" * 32768 + b"\r\n") * 3 + b"0\r\n\r\n",
            "too-large",
        ),
    ],
)  # fmt: skip
def test_refusals(data: bytes, slug: str) -> None:
    async def test(served: Served) -> None:
        assert problem(await served.send(data)) == slug

    run(test)


@pytest.mark.parametrize(
    "data",
    [
        b"POST /shop/baskets HTTP/1.1\r\nContent-Length: 14\r\n" + JSON + b'\r\n{"lines":[]}',
        b"POST /shop/baskets HTTP/1.1\r\n" + CHUNKED + b'5\r\n{"lin\r\n',
        b"POST /shop/baskets HTTP/1.1\r\n" + CHUNKED + b'5\r\n{"lin\r\nzz\r\n',
        b"POST /shop/number HTTP/1.1\r\n" + CHUNKED + b"2\r\n12\r\n",
        b"POST /shop/hook HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nabc",
    ],
)
def test_a_body_cut_short_is_never_taken_for_a_whole_one(data: bytes) -> None:
    backend = EchoBackend()

    async def test(served: Served) -> None:
        reply = await served.send(data, half_close=True)
        assert problem(reply) in ("body-incomplete", "malformed-json", "length-required")
        assert not backend.calls

    run(test, backend=backend)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"GET /a HTTP/9.9\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_BYTES_MAX + b"\r\n\r\n", 431),
        (b"GET /?" + b"a" * HEAD_BYTES_MAX + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 101 + b"\r\n", 431),
    ],
)
def test_what_is_no_http_ends_the_connection_only(data: bytes, status: int) -> None:
    """granian answers this itself, without a body; docs/problems.md says so."""

    async def test(served: Served) -> None:
        reader, writer = await served.open()
        with contextlib.suppress(ConnectionError):  # closed before all was sent: no answer is left
            writer.write(data)
            async with asyncio.timeout(10):
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            assert (int(head.split()[1]), body) == (status, b"")
            assert b"connection: close" in head
        writer.close()
        assert (await served.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"))[0] == 200

    run(test)


@pytest.mark.parametrize("most", [{"site_requests_max": 0}, {"process_requests_max": 0}, {}])
def test_who_is_refused_need_not_send_the_body(most: dict[str, int]) -> None:
    backend = EchoBackend()

    async def test(served: Served) -> None:
        post = b"POST /shop/baskets HTTP/1.1\r\nContent-Length: 60000\r\n" + JSON
        key = b"" if most else b"Authorization: Bearer wrong\r\n"
        slug = problem(await served.send(post + key + b"\r\n"))  # and not one byte of the body
        assert slug == ("overloaded" if most else "unauthenticated")
        assert backend.calls == []

    run(test, backend=backend, limits=Limits(**most))


def test_a_body_that_never_comes() -> None:
    async def test(served: Served) -> None:
        data = b"POST /shop/baskets HTTP/1.1\r\nContent-Length: 14\r\n" + JSON + b"\r\n{"
        assert problem(await served.send(data)) == "body-timeout"

    run(test, limits=Limits(body_wait_s=0.05))


def test_an_early_refusal_does_not_confuse_what_follows() -> None:
    async def test(served: Served) -> None:
        reader, writer = await served.open()
        writer.write(b"POST /nowhere HTTP/1.1\r\nContent-Length: 5\r\n" + JSON + b"\r\nGET /")
        writer.write(b"GET /shop/products/a HTTP/1.1\r\n" + HOST + b"\r\n")
        assert problem(await answer(reader)) == "no-such-path"
        with contextlib.suppress(asyncio.IncompleteReadError):  # closing is right as well
            status, _, body = await answer(reader)
            assert (status, msgspec.json.decode(body)["handle"]) == (200, "a")
        writer.close()

    run(test)


def test_a_thousand_buyers_at_once() -> None:
    backend = EchoBackend(wait=asyncio.Event(), awaited=1000)

    async def test(served: Served) -> None:
        assert backend.wait is not None
        get = b"GET /shop/products/a HTTP/1.1\r\n" + HOST + b"\r\n"
        buyers = [asyncio.create_task(served.send(get)) for _ in range(1000)]
        await backend.entered.wait()
        backend.wait.set()
        assert {(await buyer)[0] for buyer in buyers} == {200}

    run(test, backend=backend)


def test_drain_answers_what_is_under_way() -> None:
    async def main() -> None:
        backend = EchoBackend(wait=asyncio.Event())
        assert backend.wait is not None
        async with serving(backend) as served:
            idle_reader, idle_writer = await served.open()
            idle_writer.write(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
            await answer(idle_reader)
            under_way = asyncio.create_task(
                served.send(b"GET /shop/products/a HTTP/1.1\r\n" + HOST + b"\r\n")
            )
            await backend.entered.wait()
            served.stop.set()
            assert await idle_reader.read() == b""  # an idle connection is closed
            idle_writer.close()
            with pytest.raises(ConnectionError):
                while True:
                    _, writer = await served.open()
                    writer.close()
            assert not served.task.done()
            backend.wait.set()
            assert (await under_way)[0] == 200
            await served.task

    uvloop.run(main())


READY = b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n"


async def until_it_stops(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message:
    """Ask whether it takes requests until it says no, and return the headers of that."""
    while True:
        writer.write(READY)
        status, headers, _ = await answer(reader)
        if status == 503:
            writer.close()
            return headers
        assert "connection" not in headers


def test_a_connection_made_before_the_stop_is_answered() -> None:
    async def main() -> None:
        async with serving(EchoBackend(), settle_s=3) as served:
            used = await served.open()
            reader, writer = await served.open()
            served.stop.set()
            assert (await until_it_stops(*used))["connection"] == "close"
            writer.write(b"GET /shop/products/a HTTP/1.1\r\n" + HOST + b"\r\n")
            status, headers, _ = await answer(reader)
            assert (status, headers["connection"]) == (200, "close")
            assert await reader.read() == b""
            writer.close()
            assert not served.task.done()

    uvloop.run(main())


def test_it_lingers_for_balancers() -> None:
    async def main() -> None:
        async with serving(EchoBackend(), linger_s=2, settle_s=0) as served:
            served.stop.set()
            await until_it_stops(*await served.open())
            get = b"GET /shop/products/a HTTP/1.1\r\n" + HOST + b"\r\n"
            assert (await served.send(get))[0] == 200

    uvloop.run(main())


def test_drain_ends_in_time() -> None:
    async def main() -> None:
        backend = EchoBackend(wait=asyncio.Event())
        assert backend.wait is not None
        async with serving(backend, settle_s=0, drain_s=0.05) as served:
            under_way = asyncio.create_task(
                served.send(b"GET /shop/products/a HTTP/1.1\r\n" + HOST + b"\r\n")
            )
            await backend.entered.wait()
            served.stop.set()
            await served.task
            backend.wait.set()
            under_way.cancel()

    uvloop.run(main())


def test_a_taken_port_is_said_first() -> None:
    async def test(served: Served) -> None:
        app = HttpApp(EchoBackend())
        with pytest.raises(AddressTaken, match=f"127.0.0.1:{served.port}"):
            await serve(app, "127.0.0.1", served.port, on_started=pytest.fail, stop=asyncio.Event())

    run(test)


# ---- mounts


async def pages(scope: Message, receive: Receive, send: Send) -> None:
    """A small application: echoes, streams, fails."""
    body = b""
    if scope["path"].endswith("/fail"):
        raise ZeroDivisionError("secret")
    if scope["path"].endswith("/stream"):
        cookies = [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]
        await send({"type": "http.response.start", "status": 200, "headers": cookies})
        for piece in (b"a", b"b"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"c"})
        return
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    text = f"{scope['method']} {scope['root_path']} {scope['path']} {len(body)}"
    headers = [(b"content-type", b"text/plain"), (b"X-Page", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def test_mounts() -> None:
    async def test(served: Served) -> None:
        async def get(path: bytes) -> tuple[int, bytes]:
            status, _, body = await served.send(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
            return status, body

        assert await get(b"/admin/x%20y") == (200, b"GET /admin /admin/x y 0")
        assert await get(b"/admin") == (200, b"GET /admin /admin 0")
        assert await get(b"/elsewhere") == (200, b"GET  /elsewhere 0")
        stream = b"GET /admin/stream HTTP/1.1\r\n" + HOST + b"\r\n"
        status, headers, body = await served.send(stream)
        assert (status, headers["set-cookie"], body) == (200, ["a=1", "b=2"], b"abc")
        assert await get(b"/admin/fail") == (500, b"Something went wrong here.\n")
        assert (await get(b"/shop/products/a"))[0] == 200
        assert (await get(b"/shop/nothing"))[0] == 404
        assert (await get(b"/healthz"))[0] == 200
        post = b"POST /admin HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n"
        assert (await served.send(post % 90 + b"x" * 90))[2] == b"POST /admin /admin 90"
        assert (await served.send(post % 101 + b"x" * 101))[0] == 413

    run(test, apps={"/admin": pages, "/": pages}, limits=Limits(mount_body_bytes_max=100))
