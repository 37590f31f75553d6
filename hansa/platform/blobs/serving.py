"""Serving: a blob's bytes in and out over HTTP, in pieces, as an application beside the operations.

    PUT /files?name=a.png             with a key: the body becomes a blob, the answer says which
    PUT /files/{site}?...signature=   with an upload link
    GET /files/{site}/{blob}          with a key of the site, or with a link

What must never happen here: a piece taken that is not passed on first, so that a fast sender fills
the memory; or an answer that begins before it is known who asks.
"""

import asyncio
import base64
import binascii
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from hansa.kernel import codec, residence
from hansa.kernel.caller import Caller, Principal
from hansa.kernel.commands import deadline_in
from hansa.kernel.fence import SiteErased
from hansa.kernel.http.mounts import ClientGone, Message, Receive, Send
from hansa.kernel.http.refusals import LengthRequired
from hansa.kernel.problems import (
    Denied,
    Invalid,
    NotFound,
    Overloaded,
    Problem,
    TooLarge,
    Unprocessable,
)
from hansa.kernel.runtime import Runtime
from hansa.kernel.storage import PLATFORM, Session
from hansa.platform.blobs import links
from hansa.platform.blobs.api import (
    BYTES_MAX,
    MOUNT,
    Arrived,
    Blob,
    BlobStore,
    begin_upload,
    break_off,
    finish_upload,
    get_blob,
)
from hansa.platform.blobs.delivery import UNKNOWN, RangeEmpty, headers_for, range_of
from hansa.platform.blobs.process import link_keys
from hansa.platform.blobs.stores import BlobMissing

logger = logging.getLogger("hansa.blobs")

STREAMS_MAX: Final = 64
"""Blobs under way at once in a process, in and out; an upload takes 10 MiB on S3."""
UPLOADS_MAX: Final = 16
PIECE_S: Final = 20.0
"""How long a piece of a body may take to come, or to be taken."""
UPLOAD_S: Final = 3_600.0
LOOK_S: Final = 10.0
_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/=]{44}):")


def _bearer(site: str) -> Caller:
    """Return who has a link: somebody of the site, so that links end when it is suspended."""
    may = frozenset({"blobs.blobs:read", "blobs.blobs:write"})
    return Caller(site, Principal("link", may, "key", site))


class _Broken(Exception):
    """The client has gone, or is too slow."""


class _Request:
    """What came in."""

    def __init__(self, scope: Message) -> None:
        self.method = str(scope["method"])
        self.path = str(scope["path"])
        self.query = bytes(scope["query_string"]).decode("latin-1")
        self.headers: Mapping[str, str] = {
            bytes(name).decode("latin-1").lower(): bytes(value).decode("latin-1")
            for name, value in reversed(list(scope["headers"]))
        }
        self.parts = self.path.removeprefix(MOUNT).strip("/").split("/")


async def site_of_request(runtime: Runtime, scope: Message) -> str:
    """Return the site whose file a request is for. Raises Problem."""
    request = _Request(scope)
    if request.parts[0]:
        return request.parts[0]
    return (await _caller_of(runtime, request)).site


async def _caller_of(runtime: Runtime, request: _Request) -> Caller:
    header = request.headers.get
    caller: Caller = await runtime.authenticate(
        header("authorization", ""), header("host", ""), header("hansa-site", "")
    )
    return caller


class BlobServer:
    """The application; mount it at `MOUNT`."""

    body_bytes_max = BYTES_MAX

    def __init__(self, runtime: Runtime, store: BlobStore) -> None:
        self._runtime = runtime
        self._store = store
        self._streams = 0
        self._uploads = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = _Request(scope)
        try:
            if request.method == "PUT":
                await self._in(request, receive, send)
            elif request.method in ("GET", "HEAD"):
                await self._out(request, send)
            else:
                await _refuse(
                    send, 405, _problem(405, "method-not-allowed"), allow="GET, HEAD, PUT"
                )
        except Problem as problem:
            more = (
                {} if problem.retry_after_s is None else {"retry-after": str(problem.retry_after_s)}
            )
            await _refuse(send, problem.status, problem.document(), **more)
        except (_Broken, ClientGone):
            return

    # ---- who

    def _said(self, request: _Request, site: str) -> dict[str, str]:
        """Return what a link says. Raises Denied."""
        now = self._runtime.clock.now_us() // 1_000_000
        keys = link_keys(self._runtime, site)
        try:
            return links.read(keys, request.method, request.path, request.query, now)
        except links.LinkExpired:
            raise Denied("The link has ended; ask for a new one.", slug="link-expired") from None
        except links.LinkInvalid:
            raise Denied("The link is not valid.", slug="link-invalid") from None

    def _enter(self) -> None:
        if self._streams >= STREAMS_MAX:
            raise Overloaded("Too many files are under way.", retry_after_s=1)
        self._streams += 1

    # ---- in

    async def _in(self, request: _Request, receive: Receive, send: Send) -> None:
        if links.is_link(request.query) and len(request.parts) == 1 and request.parts[0]:
            site = request.parts[0]
            said = self._said(request, site)
            caller = _bearer(site)
            name, type, limit = said["name"], said["type"], int(said["bytes_max"])
        elif request.parts == [""]:
            caller = await _caller_of(self._runtime, request)
            values = parse_qs(request.query, keep_blank_values=True, errors="replace")
            name = values.get("name", [""])[-1]
            type, limit = request.headers.get("content-type", ""), BYTES_MAX
        else:
            raise NotFound("Send a file to /files?name=..., or to an upload link.")
        length = request.headers.get("content-length", "")
        announced = int(length) if length.isdecimal() else None
        if announced is not None and announced > limit:
            raise TooLarge(f"The file may have {limit} bytes.")
        wanted = _wanted(request.headers.get("content-digest", ""))
        if announced is None and wanted is None:
            raise LengthRequired("Send Content-Length or Content-Digest: a broken connection looks"
                                 " like the end.")  # fmt: skip
        if self._uploads >= UPLOADS_MAX:
            raise Overloaded("Too many files are coming in.", retry_after_s=1)
        self._enter()
        self._uploads += 1
        try:
            blob = await self._take(caller, name, type, _Body(receive, limit, announced, wanted))
        finally:
            self._streams -= 1
            self._uploads -= 1
        await _answer(send, 201, codec.encode(blob), location=f"/blobs/{blob.id}")

    async def _take(self, caller: Caller, name: str, type: str, body: "_Body") -> Blob:
        do = self._runtime.do
        coming = await do(begin_upload, caller, {"name": name, "type": type})
        try:
            async with asyncio.timeout(UPLOAD_S):
                await self._store.write(f"{caller.site}/{coming.id}", body.pieces())
            body.check()
            arrived = Arrived(body.size, body.sha256.hexdigest())
            return await do(finish_upload, caller, {"id": coming.id, "arrived": arrived})
        except BaseException as error:
            # Where this fails too, what came is taken away a day later.
            await asyncio.shield(self._break_off(caller, coming.id))
            if body.problem is not None:
                raise body.problem from None
            if isinstance(error, TimeoutError):
                raise _Broken from None
            if isinstance(error, OSError):
                logger.error("a blob cannot be stored: %s", error)
                raise Overloaded("The file cannot be stored now.", retry_after_s=5) from None
            raise

    async def _break_off(self, caller: Caller, id: str) -> None:
        try:
            try:
                await self._runtime.do(break_off, caller, {"id": id})
            except Problem as problem:
                if problem.slug != SiteErased.slug or not await self._is_erased(caller.site):
                    raise
                # With the site went the row that told of these bytes, maybe before they were there.
                await self._store.erase(f"{caller.site}/{id}")
        except Exception:
            logger.exception("what came of upload %s is taken away later", id)

    async def _is_erased(self, site: str) -> bool:
        """Tell whether a site is erased, or being erased; one that is closed keeps what it has."""

        async def body(session: Session) -> bool:
            row, _, _ = await residence.read(session, site)
            return row is not None and row.state in ("going", "erased")

        return await self._runtime.storage.read(
            body, site=PLATFORM, deadline=deadline_in(LOOK_S), across=True
        )

    # ---- out

    async def _out(self, request: _Request, send: Send) -> None:
        if len(request.parts) != 2:
            raise NotFound("A file is at /files/{site}/{blob}.")
        site, id = request.parts
        if links.is_link(request.query):
            self._said(request, site)
            caller = _bearer(site)
        else:
            caller = await _caller_of(self._runtime, request)
            if caller.site != site:
                raise NotFound("There is no such file on the site of this key.")
        blob = await self._runtime.do(get_blob, caller, {"id": id})
        etag = f'"{blob.sha256}"'
        headers = headers_for(blob.name, blob.type or UNKNOWN, etag)
        if etag in [one.strip() for one in request.headers.get("if-none-match", "").split(",")]:
            await _send(send, 304, headers[1:], b"")
            return
        first, end, status = 0, blob.size, 200
        if request.headers.get("if-range", etag) == etag:
            try:
                part = range_of(request.headers.get("range", ""), blob.size)
            except RangeEmpty:
                await _send(send, 416, [("content-range", f"bytes */{blob.size}")], b"")
                return
            if part is not None:
                first, end = part
                status = 206
                headers.append(("content-range", f"bytes {first}-{end - 1}/{blob.size}"))
        headers.append(("content-length", str(end - first)))
        if request.method == "HEAD":
            await _send(send, status, headers, b"")
            return
        self._enter()
        try:
            await self._give(f"{site}/{id}", first, end, status, headers, send)
        finally:
            self._streams -= 1

    async def _give(
        self, key: str, first: int, end: int, status: int, headers: Any, send: Send
    ) -> None:
        pieces = self._store.read(key, first, end)
        try:
            async with asyncio.timeout(PIECE_S):
                piece = await anext(pieces, b"")
        except (BlobMissing, OSError, TimeoutError) as error:
            logger.error("blob %s cannot be read: %s", key, error)
            raise Overloaded("The file cannot be read now.", retry_after_s=5) from None
        await send({"type": "http.response.start", "status": status, "headers": _raw(headers)})
        try:
            while piece:
                async with asyncio.timeout(PIECE_S):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                async with asyncio.timeout(PIECE_S):
                    piece = await anext(pieces, b"")
        except (BlobMissing, OSError) as error:  # a timeout is an OSError too
            if not isinstance(error, ClientGone):
                logger.warning("blob %s was not sent to its end: %r", key, error)
            raise _Broken from None
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Body:
    """A body on its way into the store: counted and hashed as it passes."""

    def __init__(
        self, receive: Receive, limit: int, announced: int | None, wanted: bytes | None
    ) -> None:
        self._receive = receive
        self._limit = limit
        self._announced = announced
        self._wanted = wanted
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.problem: Exception | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        """Return the pieces; what is wrong with them is noted too, since a store may wrap it."""
        more = True
        while more:
            try:
                async with asyncio.timeout(PIECE_S):
                    message = await self._receive()
            except TimeoutError:
                raise self._stop(_Broken()) from None
            if message["type"] == "http.disconnect":
                raise self._stop(_Broken())
            piece = bytes(message.get("body", b""))
            more = bool(message.get("more_body", False))
            self.size += len(piece)
            if self.size > self._limit:
                raise self._stop(TooLarge(f"The file may have {self._limit} bytes."))
            self.sha256.update(piece)
            if piece:
                yield piece
        if self._announced is not None and self.size != self._announced:
            raise self._stop(_Broken())  # the server ends the body where the connection breaks

    def check(self) -> None:
        """Compare with the digest that was announced. Raises Unprocessable."""
        if self._wanted is not None and self.sha256.digest() != self._wanted:
            raise Unprocessable(
                "What came is not what Content-Digest says; send it again.", slug="digest-mismatch"
            )

    def _stop(self, problem: Exception) -> Exception:
        self.problem = problem
        return problem


def _wanted(header: str) -> bytes | None:
    """Return the SHA-256 of a Content-Digest (RFC 9530), None without one. Raises Invalid."""
    if not header:
        return None
    match = _DIGEST.search(header)
    try:
        digest = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        digest = b""
    if len(digest) != 32:
        raise Invalid("Content-Digest needs sha-256=:base64:.", slug="invalid-digest")
    return digest


def _raw(headers: Any) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def _send(send: Send, status: int, headers: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": _raw(headers)})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _answer(send: Send, status: int, body: bytes, **more: str) -> None:
    headers = [("content-type", "application/json"), *_PLAIN, *more.items()]
    await _send(send, status, headers, body)


_PLAIN: Final = [("x-content-type-options", "nosniff"), ("cache-control", "no-store")]


def _problem(status: int, slug: str) -> dict[str, Any]:
    document = Problem(slug=slug).document()
    return {**document, "status": status}


async def _refuse(send: Send, status: int, document: dict[str, Any], **more: str) -> None:
    kind = ("content-type", "application/problem+json")
    headers = [kind, *_PLAIN, *((name.replace("_", "-"), value) for name, value in more.items())]
    await _send(send, status, headers, codec.encode(document))
