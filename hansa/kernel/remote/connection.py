"""Connections: HTTP/1.1 to another process, kept open, one request at a time on each.

httptools parses; what is ours is no more than what calls between processes need: no redirects, no
cookies, no proxies. (httpx costs some forty times as much a call.)
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final, cast

import httptools

from hansa.kernel.remote.placement import Address

ANSWER_BYTES_MAX: Final = 32 << 20
CONNECT_S: Final = 2.0
IDLE_MAX: Final = 64
"""Connections to one process that are kept while nothing is asked."""


class Broken(Exception):
    """The connection failed. `sent` is whether the request may have arrived."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


@dataclass(slots=True)
class Reply:
    """What came back. Header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """One connection. `ask` may be called when the last answer is complete."""

    def __init__(self) -> None:
        self.closed = False
        self.touched = False
        """Whether any of an answer has come."""
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._answer: asyncio.Future[Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def ask(self, request: bytes, timeout_s: float) -> "asyncio.Future[Reply]":
        """Send a request; the future has the reply, or Broken, or TimeoutError when the time is
        over."""
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._timer = loop.call_later(timeout_s, self._late)
        self._parser = httptools.HttpResponseParser(self)
        self._headers = {}
        self._body = bytearray()
        self.touched = False
        assert self._transport is not None
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """Hang up, whatever is under way."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # ---- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        """Parse what came; what nobody asked for ends the connection."""
        if self._answer is None:
            self.close()
            return
        self.touched = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        self._fail(f"the connection was closed{f': {exc}' if exc else ''}")

    def _late(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(TimeoutError())
        self.close()

    def _ended(self) -> "asyncio.Future[Reply] | None":
        """Return who waited for the answer, who does so no more."""
        answer, self._answer = self._answer, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return answer

    def _fail(self, why: str) -> None:
        answer = self._ended()
        if answer is not None and not answer.done():
            answer.set_exception(Broken(why, sent=True))
        if not self.closed:
            self.close()

    # ---- what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body, within bounds."""
        self._body += piece
        if len(self._body) > ANSWER_BYTES_MAX:
            self._fail(f"the answer has more than {ANSWER_BYTES_MAX} bytes")

    def on_message_complete(self) -> None:
        """Give the reply to who waits for it."""
        answer = self._ended()
        if not self._parser.should_keep_alive():
            self.closed = True
        if answer is not None and not answer.done():
            reply = Reply(self._parser.get_status_code(), self._headers, bytes(self._body))
            answer.set_result(reply)
        if self.closed and self._transport is not None:
            self._transport.close()


class Line:
    """The connections to one process."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: list[Connection] = []

    async def ask(self, request: bytes, timeout_s: float) -> Reply:
        """Send a request and return the reply. Raises Broken, and TimeoutError when the time is
        over; what came of it is then not known."""
        kept = self._kept()
        connection = kept or await self._connect(timeout_s)
        try:
            reply = await self._asked(connection, request, timeout_s)
        except Broken:
            if kept is None or kept.touched:
                raise
            # It was closed while it was idle, as the request went out: that is no failure.
            connection = await self._connect(timeout_s)
            reply = await self._asked(connection, request, timeout_s)
        if not connection.closed and len(self._idle) < IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    @staticmethod
    async def _asked(connection: Connection, request: bytes, timeout_s: float) -> Reply:
        try:
            return await connection.ask(request, timeout_s)
        except BaseException:
            connection.close()  # somebody else must not get this answer
            raise

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    async def _connect(self, timeout_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(CONNECT_S, timeout_s)):
                _, connection = await loop.create_connection(
                    Connection, self.address.host, self.address.port
                )
        except (OSError, TimeoutError) as error:
            raise Broken(f"{self.address}: {error or 'no answer'}", sent=False) from None
        return connection

    def close(self) -> None:
        """Hang up."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
