"""Folders: where the indexes of a process are on its disk.

    <root>/<n>/<slot>/<site>/<collection>-<generation>/

Each process has a number of its own, so several can share a root. All of it may be deleted while no
process runs: it is made again from the documents.
"""

import fcntl
import os
import re
import shutil
from pathlib import Path
from typing import Final

import msgspec

from hansa.kernel import codec
from hansa.kernel.ids import ID
from hansa.platform.search.schema import Schema

PROCESSES_MAX: Final = 64
_SCHEMA: Final = "schema.json"
_WHOLE: Final = "whole"
_GENERATION: Final = re.compile(r"(coll_[0-9a-z]{26})-([0-9]{1,12})")


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

    def of(self, slot: int, site: ID, collection: ID, generation: int) -> Path:
        """Return where an index is, or is to be."""
        return self.of_site(slot, site) / f"{collection}-{generation}"

    def generations(self, slot: int, site: ID, collection: ID) -> list[tuple[int, Path, Schema]]:
        """Return the generations of a collection that are here, the newest first, each with the
        schema that it was made by."""
        found: list[tuple[int, Path, Schema]] = []
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
            found.append((int(match[2]), one, schema))
        return sorted(found, key=lambda each: -each[0])

    def sites(self) -> list[ID]:
        """Return the sites that have indexes here."""
        return [
            site.name for slot in self.own.iterdir() if slot.is_dir() for site in slot.iterdir()
        ]


def begin(folder: Path, schema: Schema) -> None:
    """Make the folder of a new index, with the schema that it is made by."""
    remove(folder)
    folder.mkdir(mode=0o700, parents=True)
    (folder / _SCHEMA).write_bytes(codec.encode(schema))


def engine_of(folder: Path) -> Path:
    """Return where in an index's folder the engine has its files."""
    return folder / "engine"


def is_whole(folder: Path) -> bool:
    """Tell whether an index once had all documents that there were."""
    return (folder / _WHOLE).exists()


def mark_whole(folder: Path) -> None:
    """Note that an index has all documents that there are."""
    (folder / _WHOLE).touch()


def remove(folder: Path) -> None:
    """Take away an index, or all of a site's; what is still mapped ends with who has it open."""
    shutil.rmtree(folder, ignore_errors=True)
