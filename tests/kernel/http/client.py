"""A client for tests that speaks to the ASGI face."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.asgi import AsgiFace
from hansa.kernel.http.mounts import AsgiApp, Message
from hansa.kernel.problems import TYPE_ROOT


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    cookies: list[str] = field(default_factory=list[str])
    """Each Set-Cookie that came."""

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def slug(self) -> str:
        """The slug of a problem document that is as RFC 9457 wants it."""
        assert self.headers["content-type"] == "application/problem+json", self
        document = self.json()
        assert document["status"] == self.status
        assert document["instance"] == self.headers["hansa-request-id"]
        assert document["title"]
        assert self.headers["cache-control"] == "no-store"
        assert b"Traceback" not in self.body and b".py" not in self.body
        kind: str = document["type"]
        assert kind.startswith(TYPE_ROOT)
        return kind.removeprefix(TYPE_ROOT)


JSON = {"content-type": "application/json"}


class AsgiClient:
    def __init__(self, app: HttpApp, mounts: dict[str, AsgiApp] | None = None) -> None:
        self.face = AsgiFace(app, mounts)

    async def send(
        self,
        method: str,
        target: str | bytes,
        body: bytes | list[bytes] = b"",
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
    ) -> Reply:
        """Send a request; a list of bodies is sent in pieces, without a Content-Length."""
        raw = target if isinstance(target, bytes) else target.encode("latin-1")
        path, _, query = raw.partition(b"?")
        pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or ())
        pieces = body if isinstance(body, list) else [body]
        if isinstance(body, list):
            pairs.append(("transfer-encoding", "chunked"))
        elif body:
            pairs.append(("content-length", str(len(body))))
        waiting: list[Message] = [
            {"type": "http.request", "body": piece, "more_body": place < len(pieces) - 1}
            for place, piece in enumerate(pieces)
        ]
        sent: list[Message] = []

        async def receive() -> Message:
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "client": ["127.0.0.1", 4711],  # a proxy, so X-Forwarded-For is believed
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs],
        }
        await self.face(scope, receive, send)
        start, *rest = sent
        return Reply(
            start["status"],
            {name.decode(): value.decode("latin-1") for name, value in start["headers"]},
            b"".join(message.get("body", b"") for message in rest),
            [value.decode() for name, value in start["headers"] if name == b"set-cookie"],
        )
