"""The ASGI face (ASGI 3.0, HTTP 2.4): for tests, and for being mounted in another server."""

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote

from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.message import Request
from hansa.kernel.http.mounts import AsgiApp, Message, Mounts, Receive, Send
from hansa.kernel.http.refusals import BodyIncomplete
from hansa.kernel.problems import TooLarge


class AsgiHeaders:
    """The headers of an ASGI scope. Values that are not ASCII are left out, as granian does."""

    __slots__ = ("_first", "_names", "_pairs")

    def __init__(self, raw: Any) -> None:
        self._names: set[str] = set()
        self._pairs: list[tuple[str, str]] = []
        self._first: dict[str, str] = {}
        for name, value in raw:
            key = bytes(name).decode("latin-1").lower()
            self._names.add(key)
            text = bytes(value).decode("latin-1")
            if text.isascii() and (text.isprintable() or "\t" in text):
                self._pairs.append((key, text))
                self._first.setdefault(key, text)

    def __contains__(self, key: str, /) -> bool:
        """Tell whether a header came, whatever its value."""
        return key in self._names

    def get(self, key: str, default: str, /) -> str:
        """Return the first value of a header."""
        return self._first.get(key, default)

    def get_all(self, key: str, /) -> list[str]:
        """Return the values of a header in their order."""
        return [value for name, value in self._pairs if name == key]

    def items(self) -> list[tuple[str, str]]:
        """Return every header."""
        return self._pairs


class AsgiFace:
    """An `HttpApp`, and what is mounted beside it, as an ASGI application."""

    def __init__(self, app: HttpApp, mounts: Mapping[str, AsgiApp] | None = None) -> None:
        """Serve `app`, and applications by prefix (see `Mounts`)."""
        self.app = app
        self.mounts = Mounts(mounts or {}, app.first_parts, app.gate)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request. Lifespan events are acknowledged; nothing hangs on them."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
            return
        path = _path(scope)
        mount = self.mounts.find(path) if self.mounts.present else None
        if mount is not None:
            await self.mounts.run(mount, scope, receive, send)
            return
        headers = AsgiHeaders(scope["headers"])
        request = Request(
            scope["method"],
            path,
            bytes(scope.get("query_string", b"")).decode("latin-1"),
            headers.get("host", ""),
            headers,
            partial(read_body, receive),
            _body_length(headers, scope),
            _peer(scope),
        )
        response = await self.app.respond(request)
        if scope["method"] != "HEAD" and response.status not in (204, 304):
            response.headers.append(("content-length", str(len(response.body))))
        raw = [(name.encode(), value.encode("latin-1")) for name, value in response.headers]
        await send({"type": "http.response.start", "status": response.status, "headers": raw})
        await send({"type": "http.response.body", "body": response.body})


def _path(scope: Message) -> str:
    """Return the path below the mount point, decoded as granian decodes it."""
    raw = scope.get("raw_path")
    if raw is None:
        path = str(scope["path"])
    else:
        path = unquote(bytes(raw).partition(b"?")[0].decode("latin-1"), errors="replace")
    root = scope.get("root_path", "")
    return path.removeprefix(root) if root else path


def _peer(scope: Message) -> str:
    host, port = scope.get("client") or ("", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _body_length(headers: AsgiHeaders, scope: Message) -> int:
    announced = headers.get("content-length", "")
    if announced.isascii() and announced.isdigit():
        return int(announced)
    chunked = bool(headers.get("transfer-encoding", ""))
    return -1 if chunked or str(scope.get("http_version", "")).startswith("2") else 0


async def read_body(receive: Receive, length: int, limit: int) -> bytes:
    """Read a whole body, never more than `limit` bytes of it (see `message.ReadBody`)."""
    pieces = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BodyIncomplete("The connection broke.")
        pieces += message.get("body", b"")
        if len(pieces) > limit:
            raise TooLarge(f"The body may have {limit} bytes here.")
        if not message.get("more_body", False):
            break
    if length >= 0 and len(pieces) != length:
        raise BodyIncomplete(f"{len(pieces)} of {length} bytes came.")
    return bytes(pieces)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
