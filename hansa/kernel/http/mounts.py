"""Mounts: ASGI applications beside the operations, such as pages made with Starlette.

A mount owns the first part of the path. They take part in the count of requests in flight and get
bodies up to a limit, which must arrive in time. They get no lifespan
events: what they need is made before they are mounted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from hansa.kernel.http.limits import Gate
from hansa.kernel.http.patience import Patience
from hansa.kernel.http.refusals import BodyTimeout
from hansa.kernel.problems import Overloaded

logger = logging.getLogger("hansa.http")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]

TOO_LARGE = b"The body is too large.\n"
TOO_LATE = b"The body took too long to arrive.\n"
BUSY = b"Too many requests at once.\n"
FAILED = b"Something went wrong here.\n"
TEXT = (b"content-type", b"text/plain; charset=utf-8")


def with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """Return what sends an answer with these headers (in small letters) beside its own, which go
    before."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {bytes(name) for name, _ in message["headers"]}
            more = [(name.encode(), value.encode()) for name, value in headers.items()]
            message["headers"] = [
                *message["headers"],
                *(one for one in more if one[0] not in given),
            ]
        await send(message)

    return sending


@dataclass(frozen=True, slots=True)
class Mount:
    """One application, and the path below which it is; "" is the root."""

    prefix: str
    app: AsgiApp


class Mounts:
    """All applications of a process, by the first part of the path."""

    def __init__(self, apps: Mapping[str, AsgiApp], taken: Iterable[str], gate: Gate) -> None:
        """Take applications by prefix: ``/admin``, or ``/`` for what nobody else has.

        `taken` are first parts that operations and pages have. Raises ValueError for those.
        """
        self._taken = frozenset(taken)
        self._gate = gate
        self._patience = Patience(gate.limits.body_wait_s)
        self._by_first: dict[str, Mount] = {}
        self._root: Mount | None = None
        for prefix, app in apps.items():
            first = prefix.strip("/")
            if not first:
                self._root = Mount("", app)
            elif "/" in first or first in self._taken:
                raise ValueError(f"mount {prefix!r}: one part of a path, and not a service's name")
            else:
                self._by_first[first] = Mount("/" + first, app)
        self.present = bool(apps)

    def find(self, path: str) -> Mount | None:
        """Return the application for a path, None for the operations."""
        _, _, rest = path.partition("/")
        first = rest.partition("/")[0]
        mount = self._by_first.get(first)
        if mount is not None or first in self._taken:
            return mount
        return self._root

    async def run(self, mount: Mount, scope: Message, receive: Receive, send: Send) -> None:
        """Run an application for an ASGI request, within the limits."""
        # An application that takes a body in pieces says itself how large it may be.
        own_max: int | None = getattr(mount.app, "body_bytes_max", None)
        bytes_max = self._gate.limits.mount_body_bytes_max if own_max is None else own_max
        exchange = _Exchange(receive, send, bytes_max, self._patience, own_max is not None)
        try:
            self._gate.enter()
        except Overloaded:
            await exchange.reply(503, BUSY)
            return
        try:
            prefix = scope.get("root_path", "") + mount.prefix
            await mount.app({**scope, "root_path": prefix}, exchange.receive, exchange.send)
        except _BodyTooLarge:
            await exchange.reply(413, TOO_LARGE)
        except BodyTimeout:
            await exchange.reply(408, TOO_LATE)
        except ClientGone:
            return
        except Exception:
            logger.exception("the application at %r failed", mount.prefix or "/")
            await exchange.reply(500, FAILED)
        finally:
            self._gate.leave()


class ClientGone(OSError):
    """What `send` raises when nobody is there any more (ASGI 2.4)."""


class _BodyTooLarge(Exception):
    pass


class _Exchange:
    """Counts the bytes of a body and waits for them, and answers in place of the application where
    that is left."""

    def __init__(
        self, receive: Receive, send: Send, bytes_max: int, patience: Patience, in_pieces: bool
    ) -> None:
        self._receive = receive
        self._send = send
        self._left = bytes_max
        self._patience = patience
        self._in_pieces = in_pieces
        self._since: float | None = None
        self._ended = False
        self._begun = False

    async def receive(self) -> Message:
        if self._ended:  # what comes now is that the client goes, whenever that is
            return await self._receive()
        if self._since is None or self._in_pieces:  # of a large body each piece has its time
            self._since = asyncio.get_running_loop().time()
        message = await self._patience.wait(self._receive(), self._since)
        self._ended = not message.get("more_body", False)
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _BodyTooLarge
        return message

    async def send(self, message: Message) -> None:
        self._begun = True
        await self._send(message)

    async def reply(self, status: int, text: bytes) -> None:
        if self._begun:
            return
        await self.send({"type": "http.response.start", "status": status, "headers": [TEXT]})
        await self.send({"type": "http.response.body", "body": text})
