"""Posting: one request to a server out there that nobody here trusts.

It connects to an address that was checked, never to a name; it takes 15 s at most from the first
look-up to the last byte, reads 16 KiB of headers and 1 KiB of body, and follows no redirect.
What must never happen here: a second look-up between the check and the connection.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

import httptools

from hansa.kernel.structs import Struct
from hansa.platform.webhooks.address import Address, Network, is_allowed
from hansa.platform.webhooks.patience import asked_wait_s

TIMEOUT_S: Final = 15.0
HEAD_BYTES_MAX: Final = 16_384
EXCERPT_BYTES: Final = 1_024
ADDRESSES_MAX: Final = 4
"""So many addresses of a name are tried, one after the other."""
_READ: Final = 4_096

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Outcome(Struct):
    """What became of a request: `status` is 0 where there was no answer, and `error` says why."""

    status: int
    ms: int
    excerpt: str = ""
    error: str = ""
    retry_after_s: int | None = None


class Unreachable(Exception):
    """There is no answer; the message says why, for the endpoint's owner to read."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, as the machine's resolver orders them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]).partition("%")[0] for one in found))


class Poster:
    """Sends requests outwards. A process has one, among the resources of its actions."""

    def __init__(
        self,
        allowed: Sequence[Network] = (),
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = resolve,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`allowed` are networks inside that may be reached too, by http as well."""
        self.allowed = tuple(allowed)
        self._tls = tls
        self._resolve = resolve
        self._timeout_s = timeout_s

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> Outcome:
        """Send a body and return what came of it; nothing of that kind is raised."""
        started = time.monotonic()
        answer, error = _Answer(), ""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._exchange(url, headers, body, answer)
        except TimeoutError:  # who sent a status has answered, however long the rest takes
            error = "" if answer.status else f"no answer within {self._timeout_s:g} s"
        except Unreachable as reason:
            error = str(reason)
        except ssl.SSLError as reason:
            error = f"TLS: {reason.reason or 'failed'}"
        except OSError as reason:
            error = "" if answer.status else f"{type(reason).__name__}: {reason}"[:200]
        ms = round((time.monotonic() - started) * 1000)
        text = answer.excerpt.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        return Outcome(answer.status, ms, text, error, asked_wait_s(answer.after, now))

    async def _exchange(
        self, url: str, headers: Mapping[str, str], body: bytes, answer: "_Answer"
    ) -> None:
        parts = urlsplit(url)
        reader, writer = await self._connect(parts.hostname or "", parts.port, parts.scheme)
        try:
            target = parts._replace(scheme="", netloc="").geturl() or "/"
            fields = {
                "host": parts.netloc, "connection": "close", "content-length": str(len(body)),
                **headers,
            }  # fmt: skip
            lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            writer.write(f"POST {target} HTTP/1.1\r\n{lines}\r\n".encode() + body)
            await _read(reader, answer)
        finally:
            writer.transport.abort()

    async def _connect(
        self, host: str, port: int | None, scheme: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = port or (443 if scheme == "https" else 80)
        trouble: Exception = Unreachable(f"{host} has no address that may be reached")
        for address in (await self._addresses(host, port, scheme))[:ADDRESSES_MAX]:
            try:
                if scheme != "https":
                    return await asyncio.open_connection(str(address), port, limit=_READ)
                tls = self._tls or ssl.create_default_context()
                return await asyncio.open_connection(
                    str(address), port, limit=_READ, ssl=tls, server_hostname=host
                )
            except OSError as error:
                trouble = error
        raise trouble

    async def _addresses(self, host: str, port: int, scheme: str) -> list[Address]:
        try:
            found = [str(ipaddress.ip_address(host))]
        except ValueError:
            try:
                found = list(await self._resolve(host, port))
            except OSError:
                raise Unreachable(f"{host} is no known host") from None
        addresses = [ipaddress.ip_address(text) for text in found]
        if scheme != "https":  # in the clear only inside, where the operator allows it
            return [one for one in addresses if any(one in net for net in self.allowed)]
        return [one for one in addresses if is_allowed(one, self.allowed)]


class _Answer:
    """What of an answer is looked at; the parser calls it."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.after = ""
        self.excerpt = b""
        self.is_over = False
        self._head = HEAD_BYTES_MAX

    def feed(self, data: bytes) -> None:
        """Take a piece. Raises Unreachable for what is no HTTP, and for a head without end."""
        if not self.status:
            self._head -= len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self.status:  # who answered has answered, however the rest of it goes
                self.is_over = True
                return
            raise Unreachable("the answer is no HTTP") from None
        if not self.status and self._head < 0:
            raise Unreachable(f"the head of the answer has more than {HEAD_BYTES_MAX} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self.after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        self.status = status if status >= 200 else 0

    def on_body(self, body: bytes) -> None:
        self.excerpt = (self.excerpt + body)[:EXCERPT_BYTES]
        self.is_over = self.is_over or len(self.excerpt) == EXCERPT_BYTES

    def on_message_complete(self) -> None:
        self.is_over = self.status > 0


async def _read(reader: asyncio.StreamReader, answer: _Answer) -> None:
    """Read an answer as far as it is looked at. Raises Unreachable, OSError."""
    while not answer.is_over:
        try:
            data = await reader.read(_READ)
        except OSError:
            if not answer.status:
                raise
            return
        if not data:
            if not answer.status:
                raise Unreachable("the connection was closed without an answer")
            return
        answer.feed(data)
