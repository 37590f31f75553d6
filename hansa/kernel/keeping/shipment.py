"""Shipment: what lies in a depot. Pure names, and files of changed pages.

    <generation>.<number>.<begun>.<read>.gz

A generation begins with the whole file (number 0); each further shipment has the pages that changed
since the one before. Both instants are microseconds since 1970: all that was acknowledged before
`begun` is in it, and nothing that was committed after `read`. What must never happen: a file put
together from shipments of which one is missing, damaged or of another cell.
"""

import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Annotated, Any, Final

import msgspec
from msgspec import Meta

from hansa.kernel import codec
from hansa.kernel.keeping.manifest import KeepingRefused
from hansa.kernel.schedule import from_us
from hansa.kernel.structs import Struct

FORMAT: Final = 1
SPEED: Final = 1
"""Of gzip: on a cell's pages it halves them already, at some 100 MB a second."""
HEAD_BYTES_MAX: Final = 1 << 16
_NAME: Final = re.compile(r"([0-9a-f]{16}-[0-9a-f]{8})\.([0-9]{8})\.([0-9]{16})\.([0-9]{16})\.gz")
_NUMBER_BYTES: Final = 4
_DAMAGE: Final = (
    EOFError, gzip.BadGzipFile, zlib.error, msgspec.MsgspecError, UnicodeDecodeError
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Shipment:
    """An object of a depot, by its name. Generations sort by when they began."""

    generation: str
    number: int
    begun_us: int
    read_us: int

    @property
    def name(self) -> str:
        """Return its name in the depot."""
        return f"{self.generation}.{self.number:08}.{self.begun_us:016}.{self.read_us:016}.gz"


class Head(Struct):
    """What stands before the pages: how large they are, how many the file has then, and the digest
    of the shipment before; of the first one, also what the cell is."""

    format: int
    page_bytes: Annotated[int, Meta(ge=512, le=65_536)]
    pages: Annotated[int, Meta(ge=0, le=2**32)]
    before: str
    master_keys: tuple[str, ...] = ()


def iso(at_us: int) -> str:
    """Return an instant, to the microsecond, as `--at` takes it."""
    return from_us(at_us).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse(names: Iterable[str]) -> list[Shipment]:
    """Return the shipments among some names, in their order."""
    found: list[Shipment] = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is not None:
            generation, number, begun, read = match.groups()
            found.append(Shipment(generation, int(number), int(begun), int(read)))
    return sorted(found)


def up_to(shipments: Iterable[Shipment], at_us: int | None) -> list[Shipment]:
    """Return what makes the newest file that has nothing from after an instant: a first shipment
    and all that follow it. Raises KeepingRefused where there is none, or where one of them is
    missing: an older file is for who asks for it."""
    every = sorted(shipments)
    usable = [one for one in every if at_us is None or one.read_us <= at_us]
    if not usable:
        raise KeepingRefused(_nothing(every))
    chain, behind = _chain(usable)
    if behind:
        raise KeepingRefused(_hole(usable, chain, behind))
    return chain


def _chain(usable: list[Shipment]) -> tuple[list[Shipment], list[Shipment]]:
    """Return the newest generation up to where a shipment is missing, and what is behind that."""
    newest = [one for one in usable if one.generation == usable[-1].generation]
    whole = 0
    while whole < len(newest) and newest[whole].number == whole:
        whole += 1
    return newest[:whole], newest[whole:]


def _nothing(every: list[Shipment]) -> str:
    firsts = [one for one in every if not one.number]
    if not every:
        return "The depot is empty: nothing was shipped there yet."
    since = f" It begins at {iso(firsts[0].read_us)}." if firsts else ""
    return f"The depot has nothing from before that instant.{since}"


def _hole(usable: list[Shipment], chain: list[Shipment], behind: list[Shipment]) -> str:
    missing = len(chain)
    upto = f" to {behind[0].number - 1:08}" if behind[0].number - 1 > missing else ""
    told = (
        f"The depot misses {behind[0].generation}.{missing:08}{upto}, without which what follows,"
        f" up to {iso(behind[-1].read_us)}, cannot be restored."
    )
    before = _whole_before(usable, behind)
    if before is None:
        return f"{told} It has nothing from before that."
    return f"{told} To have what was before that all the same: --at {iso(before.read_us)}"


def _whole_before(usable: list[Shipment], behind: list[Shipment]) -> Shipment | None:
    """Return the newest shipment by whose instant a file can be had."""
    rest = usable
    while rest:
        first_us = min(one.read_us for one in behind)
        rest = [one for one in rest if one.read_us < first_us]
        chain, behind = _chain(rest) if rest else ([], [])
        if chain and not behind:
            return chain[-1]
    return None


def expired(shipments: Iterable[Shipment], before_us: int) -> list[Shipment]:
    """Return what is needed for no instant from `before_us` on: generations that were followed by
    another one before that."""
    every = sorted(shipments)
    firsts = [one for one in every if one.number == 0]
    old = {one.generation for one, following in pairwise(firsts) if following.read_us < before_us}
    # Of a generation whose first one is gone, an erasure was broken off.
    headless = {one.generation for one in every} - {one.generation for one in firsts}
    return [one for one in every if one.generation in old | headless]


# ---- files


def write(to: Path, head: Head, pages: Iterable[tuple[int, bytes]]) -> str:
    """Write a shipment with pages by their numbers, from 1; return its digest."""
    digest = hashlib.sha256()
    with to.open("wb") as raw, gzip.GzipFile("", "wb", SPEED, raw, 0) as out:
        for piece in _lines(head, pages):
            digest.update(piece)
            out.write(piece)
        out.write(digest.digest())
    return digest.hexdigest()


def _lines(head: Head, pages: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    yield codec.encode(head) + b"\n"
    for number, content in pages:
        yield number.to_bytes(_NUMBER_BYTES, "big") + content
    yield bytes(_NUMBER_BYTES)


def pages_in(file: Path, page_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield all pages of a file."""
    with file.open("rb") as stream:
        number = 0
        while content := stream.read(page_bytes):
            number += 1
            yield number, content


def apply(stream: IO[bytes], to: Path, before: str) -> tuple[Head, str]:
    """Write a shipment's pages into a file; return its head and digest.

    Raises KeepingRefused when it is damaged, or is not the one behind the shipment `before`.
    """
    digest = hashlib.sha256()
    try:
        with gzip.GzipFile(fileobj=stream) as source, _opened(to) as target:
            line = source.readline(HEAD_BYTES_MAX)
            digest.update(line)
            head = _head(line, before)
            while True:
                mark = _exactly(source, _NUMBER_BYTES)
                digest.update(mark)
                number = int.from_bytes(mark, "big")
                if not number:
                    break
                content = _exactly(source, head.page_bytes)
                digest.update(content)
                target.seek((number - 1) * head.page_bytes)
                target.write(content)
            if _exactly(source, 32) != digest.digest() or source.read(1):
                raise KeepingRefused("A shipment is damaged: it is not what was written.")
            target.truncate(head.pages * head.page_bytes)
    except _DAMAGE as error:
        raise KeepingRefused(f"A shipment is damaged: {error}.") from error
    return head, digest.hexdigest()


def read_head(stream: IO[bytes]) -> Head:
    """Return the head of the first shipment of a generation. Raises KeepingRefused."""
    try:
        with gzip.GzipFile(fileobj=stream) as source:
            return _head(source.readline(HEAD_BYTES_MAX), "")
    except _DAMAGE as error:
        raise KeepingRefused(f"A shipment is damaged: {error}.") from error


def _opened(file: Path) -> Any:
    return os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+b")


def _head(line: bytes, before: str) -> Head:
    known: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
    if known.get("format") != FORMAT:
        raise KeepingRefused(f"A shipment has the format {known.get('format')}; {FORMAT} is known.")
    head: Head = codec.decode(line, Head)
    if head.before != before:
        raise KeepingRefused("A shipment does not follow the one before it: something is missing.")
    return head


def _exactly(source: gzip.GzipFile, size: int) -> bytes:
    found = source.read(size)
    if len(found) != size:
        raise EOFError("it ends too early")
    return found
