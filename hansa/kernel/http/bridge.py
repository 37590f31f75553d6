"""Bridge: an RSGI request as ASGI applications know it (ASGI 3.0, HTTP 2.4)."""

import asyncio
from typing import Any
from urllib.parse import quote

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]

from hansa.kernel.http.mounts import ClientGone, Message


class Bridge:
    """The two ASGI callables over an RSGI protocol."""

    def __init__(self, proto: Any) -> None:
        self._proto = proto
        self._pieces: Any = None
        self._complete = False
        self._status = 500
        self._headers: list[tuple[str, str]] = []
        self._stream: Any = None
        self._answered = asyncio.Event()

    async def receive(self) -> Message:
        """Return a piece of the body, or wait for the end of the exchange."""
        if self._complete:
            return await self._gone()
        if self._pieces is None:
            self._pieces = aiter(self._proto)
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            self._complete = True
            return {"type": "http.request", "body": b"", "more_body": False}
        except ProtocolClosed:
            self._complete = True
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": bytes(piece), "more_body": True}

    async def _gone(self) -> Message:
        """Wait until the client is gone or the answer is complete."""
        gone = asyncio.ensure_future(self._proto.client_disconnect())
        answered = asyncio.ensure_future(self._answered.wait())
        try:
            await asyncio.wait([gone, answered], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            answered.cancel()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a part of the answer. Raises ClientGone."""
        try:
            await self._send(message)
        except ProtocolClosed:
            raise ClientGone("the client is gone") from None

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [
                (bytes(name).decode("latin-1").lower(), bytes(value).decode("latin-1"))
                for name, value in message.get("headers", ())
            ]
            return
        if message["type"] != "http.response.body":
            return
        body = bytes(message.get("body", b""))
        if message.get("more_body", False):
            if self._stream is None:
                self._stream = self._proto.response_stream(self._status, self._headers)
            await self._stream.send_bytes(body)
            return
        if self._stream is None:
            self._proto.response_bytes(self._status, self._headers, body)
        elif body:
            await self._stream.send_bytes(body)
        self._answered.set()


def asgi_scope(scope: Any) -> Message:
    """Return the ASGI scope (HTTP, version 2.4) of an RSGI one."""
    host, _, port = str(scope.client).rpartition(":")
    server, _, server_port = str(scope.server).rpartition(":")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": scope.http_version,
        "method": scope.method,
        "scheme": scope.scheme,
        "path": scope.path,
        "raw_path": quote(scope.path).encode(),
        "query_string": scope.query_string.encode(),
        "root_path": "",
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in scope.headers.items()
        ],
        "client": (host, int(port)) if port.isdigit() else None,
        "server": (server, int(server_port)) if server_port.isdigit() else None,
        "state": {},
    }
