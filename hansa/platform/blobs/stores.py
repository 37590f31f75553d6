"""Stores: where the bytes are. A folder of this machine, or a bucket of an S3-compatible server.

A store writes all of a blob or nothing, and when `write` returns the bytes outlive a power cut.
What must never happen here: a key that leads out of the folder, or a blob in memory as a whole.
"""

import asyncio
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, cast

import obstore
from obstore.exceptions import NotFoundError
from obstore.store import S3Store

from hansa.kernel.buckets import parse_bucket

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import ClientConfig, RetryConfig

PIECE_BYTES: Final = 1 << 18
PART_BYTES: Final = 5 << 20
"""The smallest part that S3 takes; two of them are in memory at once for each upload."""
CONNECT_S: Final = timedelta(seconds=5)
REQUEST_S: Final = timedelta(hours=1)
"""As long as a whole blob may take in one request; who reads it in pieces waits less for each."""
RETRY_S: Final = timedelta(seconds=20)
_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,70}/[a-z][a-z0-9_]{0,70}")


class BlobMissing(Exception):
    """The store has nothing under a key."""


class BlobStore(Protocol):
    """What a store does; a key is `<site>/<id>`. Raises OSError when it cannot."""

    async def write(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """Write a blob whole, or nothing when `pieces` raises."""
        ...

    def read(self, key: str, first: int, end: int) -> AsyncIterator[bytes]:
        """Return the bytes from `first` to before `end` in pieces. Raises BlobMissing."""
        ...

    async def erase(self, key: str) -> None:
        """Take a blob away; nothing happens where there is none."""
        ...


@dataclass(frozen=True)
class Bytes:
    """The store of a process, among the resources of its actions."""

    store: BlobStore


def check_key(key: str) -> str:
    """Return a key. Raises ValueError for one that no site and blob have."""
    if _KEY.fullmatch(key) is None:
        raise ValueError("a key is <site>/<id>")
    return key


class FolderStore:
    """Blobs as files: `<folder>/<site>/<id>`, readable by this program's user alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, key: str) -> Path:
        return self._folder / check_key(key)

    async def write(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """See `BlobStore`. The file has its name only when all of it is on the disk."""
        path = self._path(key)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        file = await asyncio.to_thread(_create, draft)
        try:
            try:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
            finally:
                await asyncio.shield(asyncio.to_thread(_close, file))
            await asyncio.shield(asyncio.to_thread(_publish, draft, path))
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    async def read(self, key: str, first: int, end: int) -> AsyncIterator[bytes]:
        """See `BlobStore`."""
        try:
            file = await asyncio.to_thread(self._path(key).open, "rb")
        except FileNotFoundError:
            raise BlobMissing(key) from None
        try:
            await asyncio.to_thread(file.seek, first)
            left = end - first
            while left > 0:
                piece = await asyncio.to_thread(file.read, min(left, PIECE_BYTES))
                if not piece:
                    raise BlobMissing(key)
                left -= len(piece)
                yield piece
        finally:
            file.close()

    async def erase(self, key: str) -> None:
        """See `BlobStore`. The folder of a site stays."""
        await asyncio.to_thread(self._path(key).unlink, missing_ok=True)

    async def erase_site(self, site: str) -> None:
        """Take the folder of a site away, with what killed processes have left in it."""
        folder = self._path(f"{site}/all").parent
        if await asyncio.to_thread(folder.exists):
            await asyncio.to_thread(shutil.rmtree, folder)


def _create(draft: Path) -> BinaryIO:
    draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(handle, "wb")


def _close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _publish(draft: Path, path: Path) -> None:
    os.replace(draft, path)
    for folder in (path.parent, path.parent.parent):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class BucketStore:
    """Blobs as objects of a bucket, by requests signed with Signature Version 4."""

    def __init__(self, bucket: str, **options: Any) -> None:
        """`options` are those of obstore's S3Store: prefix, endpoint, region, keys. What is not
        given is read from the usual AWS_* variables."""
        client = {"connect_timeout": CONNECT_S, "timeout": REQUEST_S, **options.pop("client", {})}
        retry: RetryConfig = {"max_retries": 3, "retry_timeout": RETRY_S}
        self._store = S3Store(
            bucket, client_options=cast("ClientConfig", client), retry_config=retry, **options
        )

    async def write(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """See `BlobStore`. A larger blob goes in parts, which the server puts together at the end;
        parts of an upload that broke off are taken away by a rule of the bucket."""
        try:
            await obstore.put_async(
                self._store, check_key(key), pieces, chunk_size=PART_BYTES, max_concurrency=1
            )
        except (FileNotFoundError, obstore.exceptions.BaseError) as error:
            raise _trouble(error) from error

    async def read(self, key: str, first: int, end: int) -> AsyncIterator[bytes]:
        """See `BlobStore`."""
        if first == end:
            return
        try:
            found, skip = await self._from(check_key(key), first, end)
            left = end - first
            async for part in found.stream(min_chunk_size=PIECE_BYTES):
                piece = bytes(part)[skip : skip + left]
                skip = max(0, skip - len(part))
                left -= len(piece)
                if piece:
                    yield piece
                if not left:
                    break
        except (NotFoundError, FileNotFoundError):
            raise BlobMissing(key) from None
        except obstore.exceptions.BaseError as error:
            raise _trouble(error) from error

    async def _from(self, key: str, first: int, end: int) -> tuple["GetResult", int]:
        """Return bytes that have a range in them, and how many of them to skip: a server may leave
        a range aside and send all (RFC 9110 section 14.2), which obstore takes for an error."""
        if first:
            try:
                options: GetOptions = {"range": (first, end)}
                return await obstore.get_async(self._store, key, options=options), 0
            except obstore.exceptions.GenericError as error:
                if "non-partial" not in str(error):
                    raise
        return await obstore.get_async(self._store, key), first

    async def erase(self, key: str) -> None:
        """See `BlobStore`."""
        try:
            await obstore.delete_async(self._store, check_key(key))
        except (NotFoundError, FileNotFoundError):
            return
        except obstore.exceptions.BaseError as error:
            raise _trouble(error) from error


def _trouble(error: Exception) -> OSError:
    """Return what went wrong without what the server wrote of its insides."""
    return OSError(f"the bucket cannot be used: {type(error).__name__}")


def parse_store(url: str, folder: Path) -> BlobStore:
    """Return the store that an operator names: ``s3://bucket/prefix?region=eu-central-1`` with
    `endpoint=` for a server other than Amazon's; nothing for the cell's own folder. Keys come from
    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Raises ValueError."""
    if not url:
        return FolderStore(folder / "blobs")
    bucket, options = parse_bucket(url)
    return BucketStore(bucket, **options)
