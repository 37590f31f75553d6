"""Manifest: what a copy of a cell consists of, and the proof that it is whole.

The manifest is written last, so a folder without one is no copy; it has the SHA-256 of every file.
What must never happen here: a copy that is believed without having been compared with its manifest.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from hansa.kernel import codec
from hansa.kernel.structs import Struct

FORMAT: Final = 1
NAME: Final = "manifest.json"
_LOCK: Final = ".making"


class KeepingRefused(Exception):
    """Nothing was copied, restored or erased; the message says why, and what to do."""


class Part(Struct):
    """A file of a copy, by its path inside of it."""

    name: str
    bytes: int
    sha256: str


class Manifest(Struct):
    """A copy of a cell as it was at one instant.

    `position` is the last one in its log, `revisions` are the schema's, and `master_keys` the names
    of the keys that its sealed values open with, the current one first; the keys are not in it.
    """

    format: int
    engine: Literal["sqlite", "postgresql"]
    cell: str
    taken_at: datetime
    position: int
    hansa: str
    revisions: dict[str, list[str]]
    master_keys: tuple[str, ...]
    parts: tuple[Part, ...]


class _Format(msgspec.Struct):  # of any version, so with any other fields
    format: int


@contextmanager
def drafted(final: Path) -> Iterator[Path]:
    """Have a folder filled under another name, and give it its own when everything is on the disk.

    What a killed copy left is taken away by the next one of the same name. Raises KeepingRefused
    when `final` is there, or another process is making it.
    """
    if final.exists():
        raise KeepingRefused(f"{final} is there already: a copy goes into a new folder.")
    final.parent.mkdir(parents=True, exist_ok=True)
    draft = final.with_name(f".{final.name}.partial")
    with _told_as(final, draft):
        draft.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(draft / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise KeepingRefused(f"Another process is making {final}.") from None
        _clear(draft)
        try:
            with _told_as(final, draft):
                yield draft
            (draft / _LOCK).unlink()
            for folder, _, _ in os.walk(draft):
                sync(Path(folder))
            if final.exists():  # renaming would put an empty one aside without a word
                raise KeepingRefused(f"{final} was made meanwhile by somebody else.")
            draft.rename(final)
            sync(final.parent)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    finally:
        os.close(handle)


@contextmanager
def _told_as(final: Path, draft: Path) -> Iterator[None]:
    """Have an error name what the operator named, not what that is called until it is whole."""
    try:
        yield
    except OSError as error:
        if str(error.filename).startswith(str(draft)):
            error.filename = str(final) + str(error.filename).removeprefix(str(draft))
        raise


def _clear(draft: Path) -> None:
    for left in draft.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name != _LOCK:
            left.unlink()


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def part_of(folder: Path, file: Path) -> Part:
    """Sync a file of a copy and return what the manifest says of it."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        os.fsync(stream.fileno())
        return Part(file.relative_to(folder).as_posix(), os.fstat(stream.fileno()).st_size, digest)


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a copy whose files are all there."""
    with (folder / NAME).open("xb") as stream:
        stream.write(msgspec.json.format(codec.encode(manifest), indent=1) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def read(folder: Path) -> Manifest:
    """Return the manifest of a copy. Raises KeepingRefused where there is none that is known."""
    file = folder / NAME
    if not file.is_file():
        raise KeepingRefused(f"{folder} is no finished copy of a cell: it has no {NAME}.")
    try:
        text = file.read_bytes()
        known: _Format = msgspec.json.decode(text, type=_Format)
        if known.format != FORMAT:
            raise KeepingRefused(
                f"{folder} has the format {known.format}; this version reads {FORMAT}. Restore it"
                " with the version that made it."
            )
        found: Manifest = codec.decode(text, Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise KeepingRefused(f"{file} is damaged: {error}.") from None
    return found


def verify(folder: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest. Raises KeepingRefused for the first that differs, or is
    not in the folder itself."""
    for part in manifest.parts:
        path = folder / part.name
        if ".." in Path(part.name).parts or Path(part.name).is_absolute():
            raise KeepingRefused(f"{folder} names the file {part.name}, which is not inside of it.")
        if any((folder / one).is_symlink() for one in _ways(part.name)):
            raise KeepingRefused(
                f"{path} is a link, so what it leads to is not inside of {folder}."
            )
        if not path.is_file():
            raise KeepingRefused(f"{path} is missing.")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != part.sha256:
            raise KeepingRefused(f"{path} is damaged: it is not what was written.")


def _ways(name: str) -> list[Path]:
    """Return a name, and those of the folders that lead to it."""
    return [Path(name), *list(Path(name).parents)[:-1]]
