"""Files go in and come out over a real socket: with keys and links, in parts, or not at all."""

import asyncio
import base64
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from hansa.assembly import OPERATOR, SERVICES, Cell, Place
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.clock import MachineClock
from hansa.kernel.http.server import serve
from hansa.kernel.keeping import erasing
from hansa.kernel.keeping.belongings import belongings
from hansa.kernel.problems import Conflict, NotFound, Unprocessable
from hansa.kernel.structs import PageRequest
from hansa.platform.blobs import api
from hansa.platform.blobs.stores import BlobMissing, BlobStore, Bytes
from hansa.platform.sites.api import (
    NewKey,
    NewSite,
    SiteChange,
    change_site,
    create_key,
    create_site,
)
from tests.platform.webhooks.office import WAIT_S, Shifted

DATA = bytes(range(256)) * 8_192  # 2 MiB


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def slug(self) -> str:
        return str(msgspec.json.decode(self.body)["type"]).rpartition("/")[2]


class Quay:
    """A served cell with a site and a key of it."""

    def __init__(self, cell: Cell, clock: Shifted, port: int) -> None:
        self.cell = cell
        self.clock = clock
        self.port = port
        self.runtime = cell.runtime
        self.store: BlobStore = cell.runtime.resources[Bytes].store
        self.site = ""
        self.key = ""

    async def make_site(self, *permissions: str) -> None:
        site = await self.runtime.do(create_site, OPERATOR, {"body": NewSite("quay")})
        self.site = site.id
        body = NewKey("crane", permissions or ("blobs.*",))
        self.key = (
            await self.runtime.do(create_key, OPERATOR, {"site": site.id, "body": body})
        ).key

    async def run(self, operation: Any, **arguments: Any) -> Any:
        return await self.runtime.do(operation, Caller(self.site, SYSTEM), arguments)

    async def ask(
        self, method: str, target: str, body: bytes = b"", *, key: bool = True, **headers: str
    ) -> Reply:
        """Send a request over a connection of its own."""
        fields = {"Host": "quay.example", "Connection": "close", **headers}
        if key:
            fields["Authorization"] = f"Bearer {self.key}"
        if body or method == "PUT":
            fields.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        return await self.send(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)

    async def send(self, data: bytes) -> Reply:
        """Send bytes and read one answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            return await _read(reader, bodiless=data.startswith(b"HEAD"))
        finally:
            writer.close()

    async def put(
        self, name: str, data: bytes, type: str = "image/png", digest: str = ""
    ) -> api.Blob:
        """Upload a file with the key."""
        target = f"/files?name={name}"
        if digest:
            reply = await self.ask("PUT", target, data, Content_Type=type, Content_Digest=digest)
        else:
            reply = await self.ask("PUT", target, data, Content_Type=type)
        assert reply.status == 201, reply
        return msgspec.json.decode(reply.body, type=api.Blob)

    async def until(self, check: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not await check():
                self.runtime.due.wake()
                await asyncio.to_thread(int)

    async def stored(self, id: str) -> bool:
        """Tell whether the store has bytes of a blob."""
        try:
            async for _ in self.store.read(f"{self.site}/{id}", 0, 1):
                pass
        except BlobMissing:
            return False
        return True

    async def loose(self) -> list[tuple[str, str]]:
        """Return what may lie in the store without a blob."""

        async def body(session: Any) -> list[tuple[str, str]]:
            rows = await session.fetch("SELECT id, state FROM blobs_loose ORDER BY id")
            return [(row[0], row[1]) for row in rows]

        deadline = asyncio.get_running_loop().time() + WAIT_S
        return await self.runtime.storage.read(
            body, site="platform", deadline=deadline, across=True
        )


async def _read(reader: asyncio.StreamReader, *, bodiless: bool) -> Reply:
    async with asyncio.timeout(WAIT_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        headers = {name.lower(): value for name, value in pairs}
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
        elif not bodiless:
            body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Reply(int(head[0].split(" ")[1]), headers, body)


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Quay]:
    clock = Shifted()
    cell = Cell(place, as_if_remote=True, clock=clock)
    await cell.open()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started, stop = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(
        serve(
            cell.app, "127.0.0.1", port, mounts=cell.mounts, on_started=started.set, stop=stop,
            drain_s=1.0,
        )
    )  # fmt: skip
    try:
        await started.wait()
        quay = Quay(cell, clock, port)
        await quay.make_site()
        yield quay
    finally:
        stop.set()
        await serving
        await cell.close()


def test_a_file_goes_in_and_comes_out(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as quay:
            digest = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
            blob = await quay.put("cat.png", DATA, digest=f"sha-256=:{digest}:")
            assert (blob.size, blob.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
            assert await quay.run(api.get_blob, id=blob.id) == blob
            target = f"/files/{quay.site}/{blob.id}"
            got = await quay.ask("GET", target)
            assert (got.status, got.body) == (200, DATA)
            assert got.headers["content-type"] == "image/png"
            assert got.headers["content-disposition"] == 'inline; filename="cat.png"'
            assert got.headers["content-length"] == str(len(DATA))
            part = await quay.ask("GET", target, Range="bytes=1000-1999")
            assert (part.status, part.body) == (206, DATA[1000:2000])
            assert part.headers["content-range"] == f"bytes 1000-1999/{len(DATA)}"
            end = await quay.ask("GET", target, Range=f"bytes={len(DATA)}-")
            assert (end.status, end.headers["content-range"]) == (416, f"bytes */{len(DATA)}")
            etag = got.headers["etag"]
            assert (await quay.ask("GET", target, If_None_Match=f'"x", {etag}')).status == 304
            stale = await quay.ask("GET", target, Range="bytes=0-1", If_Range='"other"')
            assert (stale.status, len(stale.body)) == (200, len(DATA))
            head = await quay.ask("HEAD", target)
            assert (head.status, head.headers["content-length"]) == (200, str(len(DATA)))
            empty = await quay.put("empty.bin", b"", "")
            assert (await quay.ask("GET", f"/files/{quay.site}/{empty.id}")).body == b""
            page = await quay.run(api.list_blobs, page=PageRequest())
            assert [one.id for one in page.items] == [empty.id, blob.id]
            assert await quay.loose() == []

    asyncio.run(main())


def test_who_may_not_gets_nothing(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as quay:
            blob = await quay.put("a.txt", b"secret", "text/plain")
            target = f"/files/{quay.site}/{blob.id}"
            assert (await quay.ask("GET", target, key=False)).status in (401, 403, 400, 404)
            nobody = await quay.ask("PUT", "/files?name=x", b"y", key=False)
            assert nobody.status in (400, 401, 403, 404)
            other = Quay(quay.cell, quay.clock, quay.port)
            await other.make_site()
            assert (await other.ask("GET", target)).status == 404
            assert (await other.ask("GET", f"/files/{other.site}/{blob.id}")).status == 404
            with pytest.raises(NotFound):
                await other.run(api.remove_blob, id=blob.id)
            reader = Quay(quay.cell, quay.clock, quay.port)
            await reader.make_site("blobs.blobs:read")
            refused = await reader.ask("PUT", "/files?name=x", b"y")
            assert (refused.status, refused.slug) == (403, "denied")
            assert (await quay.ask("POST", "/files", b"x")).status == 405
            assert (await quay.ask("GET", "/files/x")).status == 404
            assert (await quay.ask("PUT", "/files/x/y?name=z", b"x")).status == 404

    asyncio.run(main())


def test_links_read_until_their_end(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as quay:
            blob = await quay.put("page.html", b"<script>", "text/html")
            link = await quay.run(api.get_link, id=blob.id, expires_s=60)
            got = await quay.ask("GET", link.path, key=False, Range="bytes=0-3")
            assert (got.status, got.body) == (206, b"<scr")
            assert got.headers["content-disposition"].startswith("attachment")
            assert (await quay.ask("HEAD", link.path, key=False)).status == 200
            changed = link.path.replace("expires=", "expires=9")
            assert (await quay.ask("GET", changed, key=False)).slug == "link-invalid"
            other = await quay.put("b.txt", b"other", "text/plain")
            moved = link.path.replace(blob.id, other.id)
            assert (await quay.ask("GET", moved, key=False)).slug == "link-invalid"
            assert (await quay.ask("PUT", link.path, b"x", key=False)).status in (403, 404)
            quay.clock.ahead_s += 61
            assert (await quay.ask("GET", link.path, key=False)).slug == "link-expired"
            again = await quay.run(api.get_link, id=blob.id)
            await quay.run(api.remove_blob, id=blob.id)
            assert (await quay.ask("GET", again.path, key=False)).status == 404

    asyncio.run(main())


def test_links_take_what_they_say_and_end_with_their_site(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as quay:
            link = await quay.run(
                api.get_upload_link, name="in/größe.txt", type="text/plain", bytes_max=10
            )
            assert link.method == "PUT"
            done = await quay.ask("PUT", link.path, b"0123456789", key=False)
            blob = msgspec.json.decode(done.body, type=api.Blob)
            assert (done.status, blob.name, blob.type) == (201, "größe.txt", "text/plain")
            assert done.headers["location"] == f"/blobs/{blob.id}"
            large = await quay.ask("PUT", link.path, b"01234567890", key=False)
            assert (large.status, large.slug) == (413, "too-large")
            head = f"PUT {link.path} HTTP/1.1\r\nHost: q\r\nTransfer-Encoding: chunked\r\n\r\n"
            data = b"b\r\n01234567890\r\n0\r\n\r\n"
            endless = await quay.send(head.encode() + data)
            assert (endless.status, endless.slug) == (411, "length-required")
            digest = base64.b64encode(hashlib.sha256(b"01234567890").digest()).decode()
            told = head.replace("Host: q", f"Host: q\r\nContent-Digest: sha-256=:{digest}:")
            hidden = await quay.send(told.encode() + data)
            assert (hidden.status, hidden.slug) == (413, "too-large")
            await quay.runtime.do(
                change_site, OPERATOR, {"site": quay.site, "body": SiteChange(state="suspended")}
            )
            assert (await quay.ask("PUT", link.path, b"x", key=False)).status == 404
            with pytest.raises(Unprocessable):
                await quay.run(api.get_upload_link, name="..", type="x")

    asyncio.run(main())


def test_what_does_not_come_whole_is_taken_away(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as quay:
            wrong = base64.b64encode(b"x" * 32).decode()
            reply = await quay.ask(
                "PUT", "/files?name=a", DATA, Content_Digest=f"sha-256=:{wrong}:"
            )
            assert (reply.status, reply.slug) == (422, "digest-mismatch")
            bad = await quay.ask("PUT", "/files?name=a", b"x", Content_Digest="md5=:x:")
            assert (bad.status, bad.slug) == (400, "invalid-digest")
            _, writer = await asyncio.open_connection("127.0.0.1", quay.port)
            head = (
                "PUT /files?name=a HTTP/1.1\r\nHost: q\r\nContent-Length: 9999999\r\n"
                f"Authorization: Bearer {quay.key}\r\n\r\n"
            )
            writer.write(head.encode() + b"y" * 3_000_000)
            await writer.drain()

            async def coming() -> bool:
                return any(state == "coming" for _, state in await quay.loose())

            await quay.until(coming)
            writer.transport.abort()

            async def nothing_left() -> bool:
                return await quay.loose() == []

            await quay.until(nothing_left)
            assert not (await quay.run(api.list_blobs, page=PageRequest())).items

    asyncio.run(main())


def test_what_comes_while_its_site_is_erased_leaves_no_bytes(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as quay:
            reader, writer = await asyncio.open_connection("127.0.0.1", quay.port)
            head = (
                "PUT /files?name=a HTTP/1.1\r\nHost: q\r\nConnection: close\r\n"
                f"Content-Length: {len(DATA)}\r\nAuthorization: Bearer {quay.key}\r\n\r\n"
            )
            writer.write(head.encode() + DATA[:1_000_000])
            await writer.drain()

            async def coming() -> bool:
                return bool(await quay.loose())

            await quay.until(coming)
            ((id, _),) = await quay.loose()
            storage = quay.runtime.storage
            await erasing.erase(storage, belongings(SERVICES), quay.site, MachineClock())
            await quay.runtime.load_fence()
            assert not await quay.stored(id), "it has no name yet, so nobody could erase it"
            writer.write(DATA[1_000_000:])
            reply = await _read(reader, bodiless=False)
            assert (reply.status, reply.slug) == (404, "site-not-found")
            writer.close()
            assert not await quay.stored(id)

    asyncio.run(main())


def test_a_blob_that_is_removed_leaves_no_bytes(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as quay:
            blob = await quay.put("a.png", DATA)
            assert await quay.stored(blob.id)
            await quay.run(api.remove_blob, id=blob.id)

            async def erased() -> bool:
                return await quay.loose() == [] and not await quay.stored(blob.id)

            await quay.until(erased)

    asyncio.run(main())


def test_what_a_dead_process_left_is_taken_away_a_day_later(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as quay:
            # A process that died between the bytes and the row.
            coming = await quay.run(api.begin_upload, name="a", type="")

            async def bytes_of() -> AsyncIterator[bytes]:
                yield DATA

            await quay.store.write(f"{quay.site}/{coming.id}", bytes_of())
            kept = await quay.put("kept.png", b"x")
            await quay.runtime.ticker.tick()
            quay.clock.ahead_s += 86_400 - 100
            await quay.runtime.ticker.tick()
            assert await quay.stored(coming.id)
            # The sweep goes once a day: within the next day and its spread it has passed.
            quay.clock.ahead_s += 86_400
            await quay.runtime.ticker.tick()
            quay.clock.ahead_s += 2 * 3_600

            async def erased() -> bool:
                return await quay.loose() == []

            await quay.until(erased)
            assert not await quay.stored(coming.id)
            assert await quay.stored(kept.id)
            with pytest.raises(Conflict) as over:
                await quay.run(api.finish_upload, id=coming.id, arrived=api.Arrived(1, "0"))
            assert over.value.slug == "upload-over"

    asyncio.run(main())
