"""Both stores keep what they are given, whole or not at all, in pieces."""

import asyncio
import hashlib
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hansa.platform.blobs.stores import (
    BlobMissing,
    BlobStore,
    check_key,
    parse_store,
)

KEY = "site_a/blob_a"
MIB = 1 << 20


async def pieces(count: int, piece: bytes = b"\xa5" * MIB) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield piece


async def broken(count: int) -> AsyncIterator[bytes]:
    async for piece in pieces(count):
        yield piece
    raise ConnectionResetError("the sender has gone")


async def whole(store: BlobStore, key: str, first: int, end: int) -> bytes:
    return b"".join([piece async for piece in store.read(key, first, end)])


@pytest.fixture
def store(store_url: str, tmp_path: Path) -> BlobStore:
    return parse_store(store_url, tmp_path)


def test_what_is_written_is_read_in_parts_and_gone_when_erased(store: BlobStore) -> None:
    async def main() -> None:
        data = bytes(range(256)) * 40_000
        for key, content in ((KEY, data), ("site_b/blob_a", b"other"), ("site_a/empty", b"")):
            await store.write(key, pieces(1, content))
        assert await whole(store, KEY, 0, len(data)) == data
        assert await whole(store, KEY, 255, 1_000_000) == data[255:1_000_000]
        assert await whole(store, "site_b/blob_a", 0, 5) == b"other"
        assert await whole(store, "site_a/empty", 0, 0) == b""
        await store.write(KEY, pieces(1, b"new"))
        assert await whole(store, KEY, 0, 3) == b"new"
        await store.erase(KEY)
        await store.erase(KEY)
        with pytest.raises(BlobMissing):
            await whole(store, KEY, 0, 3)
        assert await whole(store, "site_b/blob_a", 0, 5) == b"other"

    asyncio.run(main())


@pytest.mark.parametrize("count", [0, 1, 12])
def test_what_breaks_off_leaves_nothing(store: BlobStore, count: int, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(OSError):
            await store.write("site_c/blob_c", broken(count))
        with pytest.raises(BlobMissing):
            await whole(store, "site_c/blob_c", 0, 1)

    asyncio.run(main())
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == []


def test_a_large_blob_takes_little_memory(store: BlobStore) -> None:
    async def main() -> None:
        await store.write("site_d/warm", pieces(12))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await store.write("site_d/large", pieces(200))
        digest, size = hashlib.sha256(), 0
        async for piece in store.read("site_d/large", 0, 200 * MIB):
            digest.update(piece)
            size += len(piece)
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert size == 200 * MIB
        assert digest.hexdigest() == hashlib.sha256(b"\xa5" * 200 * MIB).hexdigest()
        assert grown_kib < 64 * 1024
        await store.erase("site_d/large")

    asyncio.run(main())


def test_a_bucket_that_is_not_there_is_trouble_without_its_words(s3_server: str) -> None:
    async def main() -> None:
        elsewhere = parse_store("s3://nowhere/?region=x&endpoint=http://127.0.0.1:1", Path())
        with pytest.raises(OSError) as trouble:
            await elsewhere.write(KEY, pieces(1))
        assert "127.0.0.1" not in str(trouble.value)

    asyncio.run(main())


@pytest.mark.parametrize("key", ["", "a", "../a", "a/../b", "/a/b", "a/b/c", "A/b", "a/.b", "a//b"])
def test_keys_lead_nowhere_else(key: str) -> None:
    with pytest.raises(ValueError):
        check_key(key)


@pytest.mark.parametrize("url", ["file:///x", "s3://", "s3://b?secret=x", "bucket"])
def test_what_is_no_store(url: str) -> None:
    with pytest.raises(ValueError):
        parse_store(url, Path())
