"""Server: HTTP/1.1 on a simulated network, in front of the kernel's own application.

It stands where granian does in a real process, and does as little as it can.
"""

import asyncio
from typing import Any, cast
from urllib.parse import unquote

import httptools

from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.asgi import AsgiHeaders
from hansa.kernel.http.message import Request


class Serving(asyncio.Protocol):
    """One connection that was made to a node; requests are answered one after another."""

    def __init__(self, app: HttpApp) -> None:
        self._app = app
        self._parser: Any = httptools.HttpRequestParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._url = b""
        self._body = b""
        self._transport: asyncio.Transport
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._parser.feed_data(data)

    # ---- what the parser calls

    def on_message_begin(self) -> None:
        """Forget the request before."""
        self._headers, self._url, self._body = [], b"", b""

    def on_url(self, url: bytes) -> None:
        """Keep a piece of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers.append((name, value))

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body."""
        self._body += piece

    def on_message_complete(self) -> None:
        """Answer; what the caller no longer waits for, too."""
        path, _, query = self._url.decode("latin-1").partition("?")
        headers = AsgiHeaders(self._headers)
        body = self._body

        async def read(length: int, limit: int) -> bytes:
            return body

        request = Request(
            self._parser.get_method().decode(), unquote(path), query,
            headers.get("host", ""), headers, read, len(body),
        )  # fmt: skip
        self._answering = asyncio.get_running_loop().create_task(self._answer(request))

    async def _answer(self, request: Request) -> None:
        response = await self._app.respond(request)
        lines = [f"HTTP/1.1 {response.status} -", f"content-length: {len(response.body)}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        self._transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + response.body)
