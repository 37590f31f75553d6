"""Applications beside the operations, through the ASGI face."""

import asyncio

import pytest

from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.limits import Limits
from hansa.kernel.http.mounts import Message, Receive, Send
from tests.kernel.http.backend import EchoBackend
from tests.kernel.http.client import AsgiClient, Reply


async def reader(scope: Message, receive: Receive, send: Send) -> None:
    """Answer with the length of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{scope['root_path']} {size}".encode()})


def ask(app: HttpApp, target: str, body: bytes | list[bytes] = b"") -> Reply:
    return asyncio.run(AsgiClient(app, {"/admin": reader}).send("POST", target, body))


def test_bodies_are_bounded() -> None:
    app = HttpApp(EchoBackend(), limits=Limits(mount_body_bytes_max=10))
    assert ask(app, "/admin/x", b"1234567890").body == b"/admin 10"
    assert ask(app, "/admin/x", [b"123456", b"12345"]).status == 413
    assert ask(app, "/administration").slug == "no-such-path"
    assert app.gate.inside == 0


def test_they_count_as_requests() -> None:
    app = HttpApp(EchoBackend(), limits=Limits(process_requests_max=0))
    assert ask(app, "/admin").status == 503


@pytest.mark.parametrize("pieces", [0, 1_000_000])
def test_a_body_must_arrive_in_time(pieces: int) -> None:
    """One that stops, and one of which there is always a little more."""

    async def run() -> None:
        app = HttpApp(EchoBackend(), limits=Limits(body_wait_s=0.02))
        sent: list[Message] = []
        left = pieces

        async def receive() -> Message:
            nonlocal left
            left -= 1
            if left < 0:
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            return {"type": "http.request", "body": b"", "more_body": True}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/admin", "headers": []}
        async with asyncio.timeout(30):
            await AsgiClient(app, {"/admin": reader}).face(scope, receive, send)
        assert sent[0]["status"] == 408
        assert app.gate.inside == 0
        assert left > 0 or not pieces

    asyncio.run(run())


def test_who_only_waits_for_the_client_to_go_is_not_hurried() -> None:
    async def run() -> None:
        app = HttpApp(EchoBackend(), limits=Limits(body_wait_s=0.001))
        waiting: list[Message] = [{"type": "http.request", "body": b""}]
        told: list[str] = []

        async def watcher(scope: Message, receive: Receive, send: Send) -> None:
            await receive()
            told.append((await receive())["type"])

        async def receive() -> Message:
            if waiting:
                return waiting.pop()
            for _ in range(5):
                await asyncio.sleep(0.001)
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            told.append(message["type"])

        scope = {"type": "http", "method": "GET", "path": "/admin", "headers": []}
        await AsgiClient(app, {"/admin": watcher}).face(scope, receive, send)
        assert told == ["http.disconnect"]

    asyncio.run(run())


@pytest.mark.parametrize("prefix", ["/shop", "/healthz", "/a/b"])
def test_prefixes_that_are_not_free(prefix: str) -> None:
    with pytest.raises(ValueError, match="mount"):
        AsgiClient(HttpApp(EchoBackend()), {prefix: reader})


def test_lifespan_is_acknowledged() -> None:
    async def run() -> None:
        waiting: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent: list[str] = []

        async def receive() -> Message:
            return waiting.pop(0)

        async def send(message: Message) -> None:
            sent.append(message["type"])

        await AsgiClient(HttpApp(EchoBackend())).face({"type": "lifespan"}, receive, send)
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(run())
