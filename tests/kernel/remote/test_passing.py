"""A request for a mounted application finds the process that has the site, once and in pieces."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from hansa.kernel.clock import MachineClock
from hansa.kernel.http.mounts import AsgiApp, Message
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.passing import Passing
from hansa.kernel.remote.passport import Seal
from hansa.kernel.remote.placement import Address, Entry, Placement
from tests.cli.server import free_port

Sent = list[Message]
HOME: Final = "home"


class Behind:
    """A process behind: it answers with its name and what it was sent."""

    def __init__(self, name: str, *, cut: bool = False) -> None:
        self.name = name
        self.asked: list[bytes] = []
        self._cut = cut

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = b""
        if b"chunked" in head:
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size + 2)
        self.asked.append(head)
        text = self.name.encode() + b":" + body.replace(b"\r\n", b"")
        length = len(text) + 100 * self._cut
        writer.write(b"HTTP/1.1 200 OK\r\nx-of: %d\r\ncontent-length: %d\r\n\r\n" % (7, length))
        writer.write(text)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def league(own: str, *behind: Behind) -> AsyncIterator[Remote]:
    """Listen for each, and stand in the process that is `own`."""
    servers = [await asyncio.start_server(one.serve, "127.0.0.1", 0) for one in behind]
    ports = {
        one.name: server.sockets[0].getsockname()[1]
        for one, server in zip(behind, servers, strict=True)
    }
    entries = [
        Entry(name, name, (Address("127.0.0.1", port),), ("blobs",)) for name, port in ports.items()
    ]
    entries.append(Entry(HOME, HOME, (Address("127.0.0.1", free_port()),), ("sites",)))
    placement = Placement(entries)
    (mine,) = [entry for entry in entries if entry.name == own]
    try:
        yield Remote(placement, mine, Seal([b"k" * 32]), MachineClock())
    finally:
        for server in servers:
            server.close()


async def where(scope: Message) -> str:
    """A site is in the cell that its name begins with."""
    return str(scope["path"]).split("/")[2].partition("-")[0]


def passing(remote: Remote, here: AsgiApp | None = None) -> Passing:
    return Passing(remote, "blobs", where, 1_000, here)


async def ask(app: AsgiApp, path: str, *pieces: bytes, **headers: str) -> Sent:
    """Send a request in pieces; return all that was sent back."""
    left = list(pieces)

    async def receive() -> Message:
        piece = left.pop(0) if left else b""
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    sent: Sent = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http", "method": "PUT" if pieces else "GET", "path": path,
        "raw_path": path.encode(), "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode())
                    for name, value in {"host": "a.example", **headers}.items()],
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


def body(sent: Sent) -> bytes:
    assert [one["more_body"] for one in sent[1:]][-1:] == [False]
    return b"".join(one["body"] for one in sent[1:])


def run(own: str, test: Callable[[Remote], Awaitable[None]], *behind: Behind) -> None:
    async def go() -> None:
        async with league(own, *behind) as remote:
            await test(remote)
            remote.close()

    asyncio.run(go())


async def _here(scope: Message, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here", "more_body": False})


def test_it_goes_to_the_cell_that_has_the_site() -> None:
    async def test(remote: Remote) -> None:
        front = passing(remote)
        assert body(await ask(front, "/files/north-1/b")) == b"north:"
        assert body(await ask(front, "/files/south-1", b"ab", b"cd")) == b"south:abcd"

    run(HOME, test, Behind("north"), Behind("south"))


def test_who_has_the_site_serves_it_and_passes_on_the_others() -> None:
    async def test(remote: Remote) -> None:
        front = passing(remote, _here)
        assert body(await ask(front, "/files/north-1/b")) == b"here"
        assert body(await ask(front, "/files/south-1/b")) == b"south:"
        # Who sent it here knew better where the site is, or it would go around.
        assert body(await ask(front, "/files/south-1/b", hansa_passed="1")) == b"here"

    run("north", test, Behind("north"), Behind("south"))


def test_what_was_passed_is_not_passed_on() -> None:
    north = Behind("north")

    async def test(remote: Remote) -> None:
        sent = await ask(passing(remote), "/files/north-1/b", hansa_passed="1")
        assert sent[0]["status"] == 404
        assert north.asked == []

    run(HOME, test, north)


def test_headers_of_the_connection_stay_on_it() -> None:
    north = Behind("north")

    async def test(remote: Remote) -> None:
        sent = await ask(
            passing(remote), "/files/north-1/b", connection="keep-alive", te="x", x_a="1"
        )
        assert dict(sent[0]["headers"])[b"x-of"] == b"7"
        assert b"x-a: 1" in north.asked[0]
        assert b"te: x" not in north.asked[0]

    run(HOME, test, north)


@pytest.mark.parametrize("pieces", [(), (b"ab",)])
def test_an_answer_that_breaks_off_does_not_look_whole(pieces: tuple[bytes, ...]) -> None:
    async def test(remote: Remote) -> None:
        sent = await ask(passing(remote), "/files/north-1/b", *pieces)
        assert sent[0]["status"] == 200
        assert all(one["more_body"] for one in sent[1:])

    run(HOME, test, Behind("north", cut=True))


def test_an_upload_that_may_have_arrived_is_not_sent_again() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.append(1)
        writer.close()

    asked: list[int] = []
    north = Behind("north")
    north.serve = hang_up  # type: ignore[method-assign]

    async def test(remote: Remote) -> None:
        sent = await ask(passing(remote), "/files/north-1", b"ab")
        assert (sent[0]["status"], len(asked)) == (503, 1)

    run(HOME, test, north)
