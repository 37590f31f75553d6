"""Folders: where the indexes of a process are on its disk.

    <root>/<n>/<slot>/<site>/<collection>-<generation>/    the first of a generation, or
    <root>/<n>/<slot>/<site>/<collection>-<generation>.<attempt>/

Each process has a number of its own, so several can share a root. All of it may be deleted while no
process runs: it is made again from the documents. What must never happen here: a folder that is
left behind where nobody looks for it any more.
"""

import fcntl
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from hansa.kernel import codec
from hansa.kernel.ids import ID
from hansa.platform.search.point import Point
from hansa.platform.search.schema import Schema

PROCESSES_MAX: Final = 64
GONE_S: Final = 86_400
"""How long the folders of a process that ended are kept for the next one that has its number."""
BEGIN_TRIES: Final = 10
_SCHEMA: Final = "schema.json"
_WHOLE: Final = "whole"
_POINT: Final = "point.json"
_GENERATION: Final = re.compile(r"(coll_[0-9a-z]{26})-([0-9]{1,12})(?:\.([0-9]{1,12}))?")


class Folders:
    """The folders of one process, from `open` on until it ends."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = -1
        self.own = root

    def open(self) -> None:
        """Take the first number that no other process has. Raises OSError."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(PROCESSES_MAX):
            lock = os.open(self._root / f"{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            self._lock = lock
            os.utime(lock)
            self.own = self._root / str(number)
            self.own.mkdir(mode=0o700, exist_ok=True)
            return
        raise OSError(f"{PROCESSES_MAX} processes have their indexes in {self._root} already")

    def close(self) -> None:
        """Let another process have the number."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def of_site(self, slot: int, site: ID) -> Path:
        """Return where the indexes of a site are."""
        return self.own / f"{slot:04d}" / site

    def fresh(self, slot: int, site: ID, collection: ID, generation: int) -> Path:
        """Return where an index of a generation is to be, beside all that there are."""
        home = self.of_site(slot, site)
        attempts = [
            int(match[3] or 0)
            for one in (home.iterdir() if home.is_dir() else ())
            if (match := _GENERATION.fullmatch(one.name))
            and (match[1], int(match[2])) == (collection, generation)
        ]
        name = f"{collection}-{generation}"
        return home / (f"{name}.{max(attempts) + 1}" if attempts else name)

    def generations(self, slot: int, site: ID, collection: ID) -> list[tuple[int, Path, Schema]]:
        """Return the generations of a collection that are here, the newest first, each with the
        schema that it was made by."""
        found: list[tuple[int, int, Path, Schema]] = []
        folder = self.of_site(slot, site)
        for one in folder.iterdir() if folder.is_dir() else ():
            match = _GENERATION.fullmatch(one.name)
            if match is None or match[1] != collection:
                continue
            try:
                schema = codec.decode((one / _SCHEMA).read_bytes(), Schema)
            except (OSError, ValueError, msgspec.MsgspecError):
                remove(one)  # begun and not finished, or of another release
                continue
            found.append((int(match[2]), int(match[3] or 0), one, schema))
        found.sort(key=lambda each: each[:2], reverse=True)
        return [(generation, folder, schema) for generation, _, folder, schema in found]

    def remove(self, slot: int, site: ID, collection: ID) -> None:
        """Take away all that was made of a collection."""
        for folder in self.of_site(slot, site).glob(f"{collection}-*"):
            remove(folder)

    def collections(self) -> list[tuple[ID, int, ID]]:
        """Return the site, its slot and the id of each collection that has an index here. The
        folders of sites without any go."""
        found: set[tuple[ID, int, ID]] = set()
        for home in self.own.glob("*/*/"):
            ids = [match[1] for one in home.iterdir() if (match := _GENERATION.fullmatch(one.name))]
            found |= {(home.name, int(home.parent.name), id) for id in ids}
            if not ids:
                with suppress(OSError):  # one is begun just now
                    home.rmdir()
        return sorted(found)

    def sweep(self, now_s: float) -> None:
        """Take away what processes left behind that are gone for a while at an instant in seconds
        since 1970."""
        os.utime(self._lock)
        for folder in self._root.iterdir():
            if folder.name.isdecimal() and folder != self.own:
                self._sweep_of(folder, now_s)

    def _sweep_of(self, folder: Path, now_s: float) -> None:
        lock = os.open(self._root / f"{folder.name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_mtime < now_s - GONE_S:
                remove(folder)
        except OSError:
            pass  # somebody has it
        finally:
            os.close(lock)


def erase_indexes(root: Path, site: ID) -> None:
    """Take away the indexes of a site, of all processes that have theirs below a root."""
    for folder in root.glob(f"*/*/{site}"):
        remove(folder)


def begin(folder: Path, schema: Schema) -> None:
    """Make the folder of a new index, with the schema that it is made by."""
    remove(folder)
    for _ in range(BEGIN_TRIES):
        with suppress(FileNotFoundError):  # its site's, which was empty, went with a sweep just now
            folder.mkdir(mode=0o700, parents=True)
            break
    (folder / _SCHEMA).write_bytes(codec.encode(schema))


def engine_of(folder: Path) -> Path:
    """Return where in an index's folder the engine has its files."""
    return folder / "engine"


def is_whole(folder: Path) -> bool:
    """Tell whether an index once had all documents that there were."""
    return (folder / _WHOLE).exists()


def mark_whole(folder: Path, segments: int) -> None:
    """Note that an index has all documents that there are, and in how many segments it is when it
    has for the first time."""
    if not is_whole(folder):
        (folder / _WHOLE).write_text(str(segments))


def segments_when_made(folder: Path) -> int:
    """Return in how many segments an index was when it had all documents for the first time: as
    many as it would be in if it were made anew. 0 where that is not known."""
    try:
        return int((folder / _WHOLE).read_text())
    except (OSError, ValueError):
        return 0


def has_room_twice(folder: Path) -> bool:
    """Tell whether the disk has room for another index of the size of this one, and as much again
    for all else."""
    size = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    return shutil.disk_usage(folder).free > 2 * size


def point_of(folder: Path) -> Point | None:
    """Return up to which point of its collection's history an index may have been written, None
    where that is not known."""
    try:
        point: Point = codec.decode((folder / _POINT).read_bytes(), Point)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
    return point


def note_point(folder: Path, point: Point) -> None:
    """Note a point of a collection's history, before its index is written."""
    new = folder / f"{_POINT}.new"
    new.write_bytes(codec.encode(point))
    os.replace(new, folder / _POINT)


def remove(folder: Path) -> None:
    """Take away an index, or all of a site's; what is still mapped ends with who has it open."""
    shutil.rmtree(folder, ignore_errors=True)
