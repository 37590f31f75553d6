"""Scraping: `/metrics` on a port of its own, for a scraper beside the process that has no key.

Whoever reaches the port may read it, so it is on the machine itself unless it is told otherwise. It
answers one request a connection and never waits for anybody for long.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from hansa.kernel.observe import prometheus

PATH: Final = "/metrics"
WAIT_S: Final = 5.0
HEAD_BYTES_MAX: Final = 8_192
AT_ONCE: Final = 8


class MetricsPort:
    """A tiny server of one page."""

    def __init__(self, host: str, port: int, text: Callable[[], Awaitable[bytes]]) -> None:
        """Say where to listen, 0 being any free port, and what makes the page on the loop."""
        self.host = host
        self.port = port
        self._text = text
        self._busy = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises OSError where that is not possible."""
        try:
            self._server = await asyncio.start_server(
                self._serve, self.host, self.port, limit=HEAD_BYTES_MAX
            )
        except OSError as error:
            where = f"{self.host}:{self.port}"
            raise OSError(f"HANSA_METRICS: nobody can listen on {where}: {error}.") from error
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._busy += 1
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(WAIT_S):
                    writer.write(await self._answer(reader))
                    await writer.drain()
        finally:
            self._busy -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        if self._busy > AT_ONCE:
            return _reply("503 Service Unavailable", b"Too many ask at once.\n")
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _reply("431 Request Header Fields Too Large", b"The headers are too long.\n")
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _reply("400 Bad Request", b"That is no request of HTTP/1.1.\n")
        if words[1].partition(b"?")[0] != PATH.encode():
            return _reply("404 Not Found", f"There is only {PATH} here.\n".encode())
        if words[0] not in (b"GET", b"HEAD"):
            return _reply("405 Method Not Allowed", b"GET it.\n", "allow: GET, HEAD\r\n")
        return _reply("200 OK", await self._text(), headless=words[0] == b"HEAD")


def _reply(status: str, body: bytes, more: str = "", *, headless: bool = False) -> bytes:
    name, kind = prometheus.TYPE
    if not status.startswith("200"):
        kind = "text/plain; charset=utf-8"
    head = (
        f"HTTP/1.1 {status}\r\n{name}: {kind}\r\ncontent-length: {len(body)}\r\n{more}"
        "cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if headless else body)
