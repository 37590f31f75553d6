"""The RSGI face: requests as granian brings them (RSGI 1.6)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]

from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.bridge import Bridge, asgi_scope
from hansa.kernel.http.message import Request
from hansa.kernel.http.mounts import AsgiApp, Mounts
from hansa.kernel.http.refusals import BodyIncomplete
from hansa.kernel.problems import TooLarge


class RsgiFace:
    """An `HttpApp`, and what is mounted beside it, as an RSGI application."""

    def __init__(self, app: HttpApp, mounts: Mapping[str, AsgiApp] | None = None) -> None:
        """Serve `app`, and applications by prefix (see `Mounts`)."""
        self.app = app
        self.mounts = Mounts(mounts or {}, app.first_parts, app.gate)

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        """Answer one request."""
        path = scope.path
        if self.mounts.present:
            mount = self.mounts.find(path)
            if mount is not None:
                bridge = Bridge(proto)
                await self.mounts.run(mount, asgi_scope(scope), bridge.receive, bridge.send)
                return
        method = scope.method
        headers = scope.headers
        host = scope.authority or headers.get("host", "")
        read = partial(read_body, proto)
        # What comes with a GET is not looked at.
        length = 0 if method == "GET" else body_length(headers, scope.http_version)
        query, peer = scope.query_string, scope.client
        request = Request(method, path, query, host, headers, read, length, peer)
        response = await self.app.respond(request)
        try:
            proto.response_bytes(response.status, response.headers, response.body)
        except ProtocolClosed:  # the client is gone, and with it who would read this
            return


def body_length(headers: Any, http_version: str) -> int:
    """Return the announced bytes of a body: 0 without a body, -1 without an announcement.

    granian has refused lengths that are no number, and drops one beside a Transfer-Encoding.
    """
    announced = headers.get("content-length", "")
    if announced:
        return int(announced)
    if headers.get("transfer-encoding", "") or http_version.startswith("2"):
        return -1
    return 0


async def read_body(proto: Any, length: int, limit: int) -> bytes:
    """Read a whole body, never more than `limit` bytes of it (see `message.ReadBody`).

    A body of unknown length comes in pieces, whose end granian does not tell from a break.
    """
    try:
        if length >= 0:
            body: bytes = await proto()
            if len(body) != length:
                raise BodyIncomplete(f"{len(body)} of {length} bytes came.")
            return body
        pieces = bytearray()
        async for piece in proto:
            pieces += piece
            if len(pieces) > limit:
                raise TooLarge(f"The body may have {limit} bytes here.")
        return bytes(pieces)
    except ProtocolClosed:
        raise BodyIncomplete("The connection broke, or a chunk was malformed.") from None
