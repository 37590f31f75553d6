"""Sitefile: one site in a file of lines, each a JSON value (NDJSON).

    {"hansa_site": 1, "site": ..., "tables": {table: [columns]}, ...}   what it is
    {"table": "commerce_products"}                                      the rows behind it are of
    ["site_...", "prod_...", ...]                                       one row
    {"rows": {table: how many}, "sha256": ...}                          the end, and the proof

What is sealed stays sealed. What must never happen: half a file that is taken for a site.
"""

import gzip
import hashlib
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any, Final

import msgspec
from msgspec import Meta

from hansa.kernel import codec
from hansa.kernel.keeping.manifest import KeepingRefused, sync
from hansa.kernel.structs import Struct

FORMAT: Final = 1
LINE_BYTES_MAX: Final = 1 << 30
_SITE: Final = re.compile(r"site_[a-z0-9_]{1,66}")
_Value = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | bool | float | str | None
_UNPACKING: Final = (EOFError, gzip.BadGzipFile, zlib.error)
_DAMAGE: Final = (msgspec.MsgspecError, UnicodeDecodeError, *_UNPACKING)


class Head(Struct):
    """What a file is of. `passed` is how far each subscriber was, as positions of the log that the
    site comes from, and `master_keys` are the names of the keys that sealed values open with."""

    hansa_site: int
    site: str
    exported_at: datetime
    tables: dict[str, list[str]]
    passed: dict[str, int]
    master_keys: tuple[str, ...]


class End(Struct):
    """How many rows of which table there are, and the digest of all lines before this one."""

    rows: dict[str, int]
    sha256: str


class _Table(msgspec.Struct):
    table: str


_ROW: Final = msgspec.json.Decoder(list[_Value])
_TABLE: Final = msgspec.json.Decoder(_Table)


def check_site(site: str) -> str:
    """Return the id of a site. Raises KeepingRefused for what is none: it becomes a folder's name,
    and the platform's rows are no site's."""
    if _SITE.fullmatch(site) is None:
        raise KeepingRefused(f"{site!r} is no id of a site; `hansa sites list` shows them.")
    return site


class Writer:
    """Writes a site, line by line."""

    def __init__(self, out: IO[bytes], head: Head) -> None:
        self._out = out
        self._digest = hashlib.sha256()
        self.rows: dict[str, int] = {}
        self._line(head)

    def table(self, name: str) -> None:
        """Begin the rows of a table."""
        self.rows[name] = 0
        self._line({"table": name})

    def row(self, name: str, values: Sequence[Any]) -> None:
        """Write a row of the table that was begun last."""
        self.rows[name] += 1
        self._line(values)

    def end(self) -> End:
        """Write the last line."""
        made = End(self.rows, self._digest.hexdigest())
        self._line(made)
        self._out.flush()
        return made

    def _line(self, value: Any) -> None:
        line = codec.encode(value) + b"\n"
        self._digest.update(line)
        self._out.write(line)


class Reader:
    """Reads a whole file that can be read again from any line."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Read all of it and compare it with its end. Raises KeepingRefused."""
        self._stream = stream
        try:
            self.head, self._begin = self._read_head()
            self.end = self._verified()
        except _DAMAGE as error:
            raise KeepingRefused(f"The file is damaged, or no site's: {error}.") from error

    def _read_head(self) -> tuple[Head, int]:
        self._stream.seek(0)
        line = self._stream.readline(LINE_BYTES_MAX)
        known: Any = msgspec.json.decode(line)
        if not isinstance(known, dict) or "hansa_site" not in known:
            raise KeepingRefused("This is no file that `hansa sites export` wrote.")
        if known["hansa_site"] != FORMAT:
            raise KeepingRefused(f"The file has the format {known['hansa_site']}, not {FORMAT}.")
        head: Head = codec.decode(line, Head)
        check_site(head.site)
        return head, len(line)

    def _verified(self) -> End:
        self._stream.seek(0)
        digest, last = hashlib.sha256(), b""
        while line := self._stream.readline(LINE_BYTES_MAX):
            digest.update(last)
            last = line
        if not (last.startswith(b'{"rows"') and last.endswith(b"\n")):
            raise KeepingRefused("The file has no end: it was cut short.")
        end: End = codec.decode(last, End)
        if end.sha256 != digest.hexdigest():
            raise KeepingRefused("The file is damaged: it is not what was written.")
        return end

    def rows(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield each row with the name of its table, from the first one on. Raises KeepingRefused
        for what is no row."""
        self._stream.seek(self._begin)
        table = ""
        try:
            while line := self._stream.readline(LINE_BYTES_MAX):
                if line.startswith(b"["):
                    yield table, _ROW.decode(line)
                elif not line.startswith(b'{"rows"'):
                    table = _TABLE.decode(line).table
        except _DAMAGE as error:
            raise KeepingRefused(f"The file is damaged, or no site's: {error}.") from error


@contextmanager
def created(file: Path) -> Iterator[IO[bytes]]:
    """Have a file written under another name that gets its own when it is whole; packed if it ends
    in .gz. Raises KeepingRefused where it is there already."""
    if file.exists():
        raise KeepingRefused(f"{file} is there already.")
    draft = file.with_name(f".{file.name}.partial")
    handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "w+b") as raw:
            yield raw
        if file.suffix == ".gz":
            _pack(draft)
        sync(draft)
        os.rename(draft, file)
        sync(file.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _pack(draft: Path) -> None:
    packed = draft.with_name(f"{draft.name}.gz")
    try:
        with draft.open("rb") as source, packed.open("xb") as raw:
            os.chmod(packed, 0o600)
            with gzip.GzipFile("", "wb", 6, raw, 0) as out:
                shutil.copyfileobj(source, out, 1 << 20)
        os.replace(packed, draft)
    finally:
        packed.unlink(missing_ok=True)


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Open a file to be read from any place; a packed one is unpacked beside first."""
    if file.suffix != ".gz":
        with file.open("rb") as stream:
            yield stream
        return
    with tempfile.TemporaryFile() as plain:
        try:
            with gzip.open(file, "rb") as source:
                shutil.copyfileobj(source, plain, 1 << 20)
        except _UNPACKING as error:
            raise KeepingRefused(f"{file} is damaged: {error}.") from error
        yield plain
