"""Passing: a mounted application of another process, passed through in pieces, both ways.

What must never happen here: a body in memory as a whole, an answer that is cut short and looks
complete, or a request that goes around because two processes each think that the other has it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import httptools

from hansa.kernel import codec, machine
from hansa.kernel.http.mounts import AsgiApp, ClientGone, Message, Receive, Send
from hansa.kernel.problems import NotFound, Problem
from hansa.kernel.remote.calls import PAUSE_S, Group, Remote, Unreachable
from hansa.kernel.remote.connection import CONNECT_S, Broken, Line
from hansa.kernel.remote.health import Target, choose

logger = logging.getLogger("hansa.remote")

PASSED: Final = "hansa-passed"
REACH_S: Final = 10.0
"""How long a process is waited for that is away."""
PIECE_S: Final = 30.0
"""How long a piece may take to come, or to be taken; longer than the application's own limit."""
PIECE_BYTES: Final = 1 << 16
ANSWER_S: Final = 60.0
"""How long the answer may take to begin when the whole body was sent."""
_OF_ONE_HOP: Final = frozenset({
    "connection", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", PASSED,
})  # fmt: skip
"""Headers that are between two ends of a connection (RFC 9110, 7.6.1), or are set here."""


Where = Callable[[Message], Awaitable[str]]
"""Tells in which cell the site of a request is."""


class Passing:
    """The application in front; it is mounted where the processes behind mount the real one."""

    def __init__(
        self, remote: Remote, service: str, where: Where, body_bytes_max: int, here: AsgiApp | None
    ) -> None:
        """`here` is the real one, for the sites of this cell, where this process serves it."""
        self._remote = remote
        self._service = service
        self._where = where
        self._here = here
        self.body_bytes_max = body_bytes_max

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass one request on, and its answer back."""
        exchange = _Exchange(scope, receive, send)
        try:
            cell = ""
            if len(self._remote.placement.every(self._service)) > 1 and not exchange.was_passed:
                cell = await self._where(scope)
            entry = self._remote.placement.of(self._service, cell)
            is_own = exchange.was_passed or entry is self._remote.own
            if self._here is not None and is_own:
                await self._here(scope, receive, send)
                return
            if exchange.was_passed or entry is None:
                raise NotFound("This is not served here.", slug="not-served-here")
            await self._pass(exchange, self._remote.group(entry))
        except Problem as problem:
            if not exchange.begun:
                await exchange.refuse(problem)
        except ClientGone:
            return

    async def _pass(self, exchange: "_Exchange", group: Group) -> None:
        """Raises Unreachable; what broke in the midst of its answer ends in the midst."""
        end = machine.monotonic() + REACH_S
        pause_s = PAUSE_S[0]
        while True:
            try:
                async with _connected(group) as streams:
                    await exchange.run(*streams)
                return
            except Broken as broken:
                again = not broken.sent or (
                    exchange.may_repeat and not exchange.begun and group.budget.take()
                )
                if not again or machine.monotonic() > end:
                    logger.warning("%s: %s", group.entry.name, broken)
                    where = f"{group.entry.name} could not be reached: {broken}"
                    raise Unreachable(where, retry_after_s=1) from None
            await asyncio.sleep(pause_s * machine.uniform(0.5, 1))
            pause_s = min(PAUSE_S[1], pause_s * 2)


@asynccontextmanager
async def _connected(
    group: Group,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to one of the processes. Raises Broken."""
    target = choose(group.targets, machine.monotonic(), group.turn)
    group.turn += 1
    if target is None:
        raise Broken("none of its processes answers", sent=False)
    group.budget.sent()
    target.under_way += 1
    try:
        reader, writer = await _connect(target)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
    except Broken:
        target.failed(machine.monotonic())
        raise
    else:
        target.answered()
    finally:
        target.under_way -= 1


async def _connect(
    target: Target[Line],
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = target.what.address
    try:
        async with asyncio.timeout(CONNECT_S):
            return await asyncio.open_connection(address.host, address.port, limit=PIECE_BYTES)
    except (OSError, TimeoutError) as error:
        raise Broken(f"{address}: {error or 'no answer'}", sent=False) from None


class _Exchange:
    """A request on its way there, and its answer on its way back."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = [
            (bytes(name).decode("latin-1").lower(), bytes(value).decode("latin-1"))
            for name, value in scope["headers"]
        ]
        self._names = {name for name, _ in self._headers}
        self.begun = False
        """Whether the answer has."""
        self.may_repeat = scope["method"] in ("GET", "HEAD")
        self.was_passed = PASSED in self._names

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send the request and bring the answer. Raises Broken, and ClientGone."""
        sending = asyncio.create_task(self._request(writer))
        try:
            await self._answer(reader, sending)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    # ---- there

    async def _request(self, writer: asyncio.StreamWriter) -> None:
        scope = self._scope
        target = bytes(scope["raw_path"]).decode("ascii")
        if scope["query_string"]:
            target += "?" + bytes(scope["query_string"]).decode("latin-1")
        lines = [f"{scope['method']} {target} HTTP/1.1", f"{PASSED}: 1", "connection: close"]
        given = dict(self._headers)
        lines.append(f"host: {given.get('host', 'localhost')}")
        lines += [f"{name}: {value}" for name, value in self._headers if name not in _OF_ONE_HOP]
        has_body = not self.may_repeat
        chunked = has_body and "content-length" not in self._names
        if chunked:
            lines.append("transfer-encoding: chunked")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        if has_body:
            await self._body(writer, chunked=chunked)
        await _drain(writer)

    async def _body(self, writer: asyncio.StreamWriter, *, chunked: bool) -> None:
        """Pass the body on; one that breaks off is broken off there too. Raises ClientGone."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone("the client is gone")
            piece = bytes(message.get("body", b""))
            more = bool(message.get("more_body", False))
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await _drain(writer)
        if chunked:
            writer.write(b"0\r\n\r\n")

    # ---- and back

    async def _answer(self, reader: asyncio.StreamReader, sending: "asyncio.Task[None]") -> None:
        answer = _Answer(has_body=self._scope["method"] != "HEAD")
        while not answer.complete:
            data = await self._next(reader, sending)
            answer.feed(data)
            if answer.status and not self.begun:
                self.begun = True
                await self._send({
                    "type": "http.response.start",
                    "status": answer.status,
                    "headers": answer.headers,
                })  # fmt: skip
            piece = answer.take()
            if piece and not answer.complete:
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            elif answer.complete:
                await self._send({"type": "http.response.body", "body": piece, "more_body": False})

    async def _next(self, reader: asyncio.StreamReader, sending: "asyncio.Task[None]") -> bytes:
        """Return what comes next of the answer. It may begin before the request has ended."""
        reading = asyncio.create_task(reader.read(PIECE_BYTES))
        try:
            if not self.begun:
                await asyncio.wait([reading, sending], return_when=asyncio.FIRST_COMPLETED)
                if sending.done() and isinstance(sending.exception(), ClientGone):
                    raise ClientGone("the client is gone")
            async with asyncio.timeout(PIECE_S if self.begun else ANSWER_S):
                data = await reading
        except TimeoutError:
            data, late = b"", ", too late"
        except OSError as error:
            if isinstance(error, ClientGone):
                raise
            data, late = b"", f": {error}"
        else:
            late = ""
        finally:
            reading.cancel()
        if not data:
            raise Broken(f"the connection was closed{late}", sent=True)
        return data

    async def refuse(self, problem: Problem) -> None:
        """Answer in place of the process behind."""
        headers = [(b"content-type", b"application/problem+json")]
        if problem.retry_after_s is not None:
            headers.append((b"retry-after", str(problem.retry_after_s).encode()))
        body = codec.encode(problem.document())
        await self._send(
            {"type": "http.response.start", "status": problem.status, "headers": headers}
        )
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


class _Answer:
    """An answer as it is parsed, piece by piece."""

    def __init__(self, *, has_body: bool) -> None:
        self._has_body = has_body
        self._parser: Any = httptools.HttpResponseParser(self)
        self._coming: list[tuple[bytes, bytes]] = []
        self._piece = bytearray()
        self.status = 0
        """None yet while it is 0."""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def feed(self, data: bytes) -> None:
        """Parse what came. Raises Broken."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise Broken(f"no HTTP: {error}", sent=True) from None

    def take(self) -> bytes:
        """Return what is new of the body."""
        piece, self._piece = bytes(self._piece), bytearray()
        return piece

    # ---- what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header that is for who asked."""
        if name.decode("latin-1").lower() not in _OF_ONE_HOP:
            self._coming.append((name, value))

    def on_headers_complete(self) -> None:
        """Tell that the answer begins, unless this is only what goes before one (1xx)."""
        status = int(self._parser.get_status_code())
        if status >= 200:
            self.status, self.headers = status, self._coming
            self.complete = not self._has_body or status in (204, 304)
        self._coming = []

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body."""
        self._piece += piece

    def on_message_complete(self) -> None:
        """Tell that nothing follows."""
        self.complete = self.complete or self.status >= 200


async def _drain(writer: asyncio.StreamWriter) -> None:
    """Wait until what was written is taken. Raises Broken."""
    try:
        async with asyncio.timeout(PIECE_S):
            await writer.drain()
    except (OSError, TimeoutError) as error:
        raise Broken(f"it takes no more: {error or 'too slow'}", sent=True) from None
