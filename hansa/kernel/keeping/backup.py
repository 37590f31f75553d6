"""Backup: one consistent copy of a running cell, and its way back.

A cell's copy is its rows, the bytes of its blobs where they lie in its folder, and files beside it
that have to be of the same instant. The master key is not in it: whoever finds a copy finds sealed
values, and whoever restores one needs the key (`hansa.kernel.sealing`).
"""

import asyncio
import os
import secrets
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

import hansa
from hansa.kernel.clock import Clock
from hansa.kernel.keeping import dump, manifest, pages
from hansa.kernel.keeping.manifest import KeepingRefused, Manifest, part_of
from hansa.kernel.schedule import from_us
from hansa.kernel.sqlite.connection import FileLock

ROWS: Final = "hansa.db"
DUMP: Final = "hansa.dump"
_REVISIONS: Final = "SELECT service, revision FROM hansa_migrations ORDER BY service, revision"
_POSITION: Final = "SELECT coalesce(max(position), 0) FROM hansa_events"


@dataclass(frozen=True)
class Kept:
    """What belongs to a cell: its folder, and in it the rows unless the owner's DSN leads to them;
    SQLite files beside that have to be of the same instant; folders of files that never change."""

    folder: Path
    owner_dsn: str = ""
    cell: str = "local"
    beside: Sequence[str] = ()
    trees: Sequence[str] = ()

    @property
    def engine(self) -> Any:
        """Return which engine has the rows."""
        return "postgresql" if self.owner_dsn else "sqlite"


async def back_up(
    kept: Kept, to: Path, clock: Clock, *, master_keys: Sequence[str] = ()
) -> Manifest:
    """Copy a cell, which may be in use, into a new folder, and return the copy's manifest.

    Raises KeepingRefused, apsw.Error and OSError; then there is no such folder.
    """
    with manifest.drafted(to) as draft:
        await asyncio.to_thread(_copy_trees, kept, draft)
        cut = await (_dump if kept.owner_dsn else _copy_rows)(kept, draft, clock)
        # Once more, for what has come since: no row of the copy is without its bytes.
        await asyncio.to_thread(_copy_trees, kept, draft)
        made = Manifest(
            manifest.FORMAT, kept.engine, kept.cell, from_us(cut.at_us), cut.position,
            hansa.__version__, cut.revisions, tuple(master_keys),
            await asyncio.to_thread(_parts, draft),
        )  # fmt: skip
        manifest.write(draft, made)
    return made


@dataclass(frozen=True)
class _Cut:
    """The instant of a copy, and what its rows say of it."""

    at_us: int
    position: int
    revisions: dict[str, list[str]]


def _parts(draft: Path) -> tuple[manifest.Part, ...]:
    files = sorted(path for path in draft.rglob("*") if path.is_file())
    return tuple(part_of(draft, path) for path in files if path.parent != draft or _is_part(path))


def _is_part(path: Path) -> bool:
    return not path.name.startswith(".")


def _copy_trees(kept: Kept, draft: Path) -> None:
    """Copy files that have a name only when they are whole, and never change after that."""
    for name in kept.trees:
        root = kept.folder / name
        for folder, _, files in os.walk(root):
            for file in files:
                to = draft / Path(folder).relative_to(kept.folder) / file
                if file.startswith(".") or to.exists():
                    continue
                to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                try:
                    shutil.copyfile(Path(folder) / file, to)
                except FileNotFoundError:  # taken away meanwhile, and its row before it
                    to.unlink(missing_ok=True)


def _beside(kept: Kept) -> list[str]:
    return [name for name in kept.beside if (kept.folder / name).is_file()]


def _copy_beside(kept: Kept, draft: Path) -> None:
    for name in _beside(kept):
        with pages.snapshot(kept.folder / name) as source:
            pages.copy(source, draft / name)


async def _copy_rows(kept: Kept, draft: Path, clock: Clock) -> _Cut:
    try:
        return await asyncio.to_thread(_copy_rows_now, kept, draft, clock)
    except apsw.CorruptError as error:
        raise KeepingRefused(
            f"The cell in {kept.folder} is damaged, so its copy would be: {error}. Restore the last"
            " copy that was made before."
        ) from error


def _copy_rows_now(kept: Kept, draft: Path, clock: Clock) -> _Cut:
    file = kept.folder / ROWS
    if not file.is_file():
        raise KeepingRefused(f"There is no cell in {kept.folder}.")
    with ExitStack() as stack:
        # Nobody writes beside while the snapshot begins: all files are of one instant.
        with pages.held([kept.folder / name for name in _beside(kept)]):
            source = stack.enter_context(pages.snapshot(file))
            at_us = clock.now_us()
            _copy_beside(kept, draft)
        pages.copy(source, draft / ROWS)
        position = int(str(source.execute(_POSITION).fetchall()[0][0]))
        return _Cut(at_us, position, _by_service(source.execute(_REVISIONS).fetchall()))


async def _dump(kept: Kept, draft: Path, clock: Clock) -> _Cut:
    async with dump.connected(kept.owner_dsn) as link:
        with pages.held([kept.folder / name for name in _beside(kept)]):
            snapshot = await dump.begin_snapshot(link)
            at_us = clock.now_us()
            _copy_beside(kept, draft)
        position = (await link.rows(_POSITION, (), dump.ASK_S))[0][0]
        revisions = _by_service(await link.rows(_REVISIONS, (), dump.ASK_S))
        await dump.dump(kept.owner_dsn, snapshot, draft / DUMP)
    return _Cut(at_us, position, revisions)


def _by_service(rows: Sequence[Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for service, revision in rows:
        found.setdefault(service, []).append(revision)
    return found


# ---- and back


async def restore(source: Path, kept: Kept, *, force: bool = False) -> tuple[Manifest, Path | None]:
    """Put a copy in the place of a cell. Return its manifest, and the folder with what was there.

    Raises KeepingRefused before anything is changed: the copy is not whole, the cell is in use, or
    there is one and nobody said `force`.
    """
    known = manifest.read(source)
    if known.engine != kept.engine:
        raise KeepingRefused(
            f"{source} is of a cell on {known.engine}, and this is one on {kept.engine}. A site"
            " goes from one to the other with `hansa sites export` and `import`."
        )
    await asyncio.to_thread(manifest.verify, source, known)
    _check_names(source, known, kept)
    names = [part.name for part in known.parts if part.name != DUMP]
    if kept.owner_dsn:
        async with dump.connected(kept.owner_dsn) as link:
            replaced = await dump.check_free(link, force=force)
        await asyncio.to_thread(dump.load, kept.owner_dsn, source / DUMP, replaced)
        return known, place_files(source, names, kept)
    return known, await asyncio.to_thread(place_rows, source, names, kept, force=force)


def _check_names(source: Path, known: Manifest, kept: Kept) -> None:
    """Raise KeepingRefused for a copy that has another file than `back_up` puts into one: what lies
    beside a cell, such as its master key, is not a copy's to replace."""
    rows = DUMP if kept.owner_dsn else ROWS
    names = [part.name for part in known.parts]
    for name in names:
        if name != rows and name not in kept.beside and not _is_below(name, kept.trees):
            raise KeepingRefused(f"{source} names the file {name}, which no copy of a cell has.")
    if names.count(rows) != 1:
        raise KeepingRefused(f"{source} is no copy of a cell: it has no {rows}, or several.")


def _is_below(name: str, trees: Sequence[str]) -> bool:
    first, *rest = name.split("/")
    plain = bool(rest) and not {"", ".", ".."} & set(rest)
    return first in trees and plain and not rest[-1].startswith(".")


def check_vacant(kept: Kept, *, force: bool) -> None:
    """Raise KeepingRefused where there is a SQLite cell, and nobody said `force`."""
    if (kept.folder / ROWS).exists() and not force:
        raise KeepingRefused(
            f"There is a cell in {kept.folder} already. Restore into another --folder, or have it"
            " replaced with --force: what is there is kept beside."
        )


def place_rows(source: Path, names: Sequence[str], kept: Kept, *, force: bool) -> Path | None:
    """Put files in the place of a SQLite cell's, which nobody may have open; return where that is
    now, if there was one. Raises KeepingRefused and StorageFailed."""
    check_vacant(kept, force=force)
    kept.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(str(kept.folder / ROWS))
    try:
        return place_files(source, names, kept)
    finally:
        lock.release()


def place_files(source: Path, names: Sequence[str], kept: Kept) -> Path | None:
    """Copy files to beside their places, and then change all of them, the rows last.

    A kill on the way leaves a folder without rows, never rows of one copy beside files of another.
    """
    kept.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = kept.folder / f".restoring-{secrets.token_hex(4)}"
    for left in kept.folder.glob(".restoring-*"):
        if left != source:
            shutil.rmtree(left)
    try:
        for name in names:
            (draft / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(source / name, draft / name)
            (draft / name).chmod(0o600)
            manifest.sync(draft / name)
        before = _set_aside(kept)
        for name in sorted(names, key=lambda name: name == ROWS):
            (kept.folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.replace(draft / name, kept.folder / name)
        for folder in {(kept.folder / name).parent for name in names} | {kept.folder}:
            manifest.sync(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return before


def _set_aside(kept: Kept) -> Path | None:
    """Move what is there out of the way, the rows first; blobs stay, they never change."""
    mine = [] if kept.owner_dsn else [ROWS, f"{ROWS}-wal", f"{ROWS}-shm"]
    mine += [name + tail for name in kept.beside for tail in ("", "-journal", "-wal", "-shm")]
    there = [name for name in mine if (kept.folder / name).exists()]
    if not there:
        return None
    before = kept.folder / f"before-restore-{secrets.token_hex(4)}"
    before.mkdir(mode=0o700)
    for name in there:
        os.rename(kept.folder / name, before / name)
        manifest.sync(kept.folder)
    manifest.sync(before)
    return before
