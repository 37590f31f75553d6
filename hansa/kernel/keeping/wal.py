"""Wal: which pages of a SQLite file changed, read from its write-ahead log beside who writes it.

Sources: sqlite.org/fileformat2.html section 4 (the log) and sqlite.org/walformat.html section 2
(its index, in shared memory). Only frames up to the last commit that the index names are looked at;
what lies behind may be of a transaction under way. What must never happen: a frame of an older run
of the log taken for one of this.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_INDEX: Final = struct.Struct("=III2BHII2I8s2I")
_FRAME: Final = struct.Struct(">II8s8x")
_LOG_HEAD_BYTES: Final = 32
_TRIES: Final = 1_000


class Broken(Exception):
    """The log is not what it was: what changed can no longer be told."""


@dataclass(frozen=True)
class Index:
    """The log as of a commit: which run of it (each has a salt of its own), how many frames, the
    size of a page, and how many pages the file has."""

    salt: bytes
    frames: int
    page_bytes: int
    pages: int


_shared: Final[dict[tuple[int, int], int]] = {}
"""Descriptors of indexes, by device and inode, never closed: closing one would let go of every lock
that this process has on the file through SQLite (fcntl(2), POSIX 1003.1 section 2.14.3)."""


def _index_of(file: Path) -> int:
    path = f"{file}-shm"
    found = os.stat(path)
    name = (found.st_dev, found.st_ino)
    if name not in _shared:
        _shared[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return _shared[name]


def read_index(file: Path) -> Index:
    """Return what the index says now. Its head stands there twice and is written in turns: two
    that differ are read again. Raises Broken."""
    handle = _index_of(file)
    for _ in range(_TRIES):
        both = os.pread(handle, 2 * _INDEX.size, 0)
        one, two = both[: _INDEX.size], both[_INDEX.size :]
        if len(both) == 2 * _INDEX.size and one == two:
            _, _, _, made, _, size, frames, pages, _, _, salt, _, _ = _INDEX.unpack(one)
            if made:
                return Index(salt, frames, 65_536 if size == 1 else size, pages)
    raise Broken("the index of the write-ahead log cannot be read")


def pages_of(file: Path, after: int, index: Index) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each page that frames behind `after` changed, as it is at the
    last of them. Raises Broken."""
    with file.with_name(f"{file.name}-wal").open("rb") as log:
        places: dict[int, int] = {}
        for frame in range(after, index.frames):
            number, at = _frame(log, frame, index)
            places[number] = at
        for number, at in sorted(places.items()):
            if number <= index.pages:
                log.seek(at)
                yield number, _whole(log, index.page_bytes)


def _frame(log: BinaryIO, frame: int, index: Index) -> tuple[int, int]:
    """Return the page of a frame, and where its content is."""
    at = _LOG_HEAD_BYTES + frame * (_FRAME.size + index.page_bytes)
    log.seek(at)
    number, _, salt = _FRAME.unpack(_whole(log, _FRAME.size))
    if salt != index.salt or not number:
        raise Broken(f"frame {frame + 1} is of another run of the log")
    return number, at + _FRAME.size


def _whole(log: BinaryIO, size: int) -> bytes:
    found = log.read(size)
    if len(found) != size:
        raise Broken("the log is shorter than its index says")
    return found
