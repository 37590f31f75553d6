# pyright: reportPrivateUsage=false
"""Keeping: `hansa backup`, `hansa restore` and `hansa ship`."""

import argparse
import logging
import os
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final

import apsw
import asyncpg
import uvloop

from hansa.assembly import BLOBS_ENV, Place
from hansa.cli.serving import check_exists, failed, told
from hansa.cli.values import instant
from hansa.kernel import proof
from hansa.kernel.clock import MachineClock
from hansa.kernel.keeping import backup, claim, depot, manifest, replay, shipment
from hansa.kernel.keeping.backup import Kept
from hansa.kernel.keeping.manifest import KeepingRefused, Manifest
from hansa.kernel.keeping.shipping import Shipper
from hansa.kernel.problems import Problem
from hansa.kernel.schedule import from_us, to_us
from hansa.kernel.sealing import (
    MASTER_KEY_ENV,
    MasterKeyInvalid,
    key_name,
    parse_master_keys,
    read_master_keys,
)
from hansa.kernel.sqlite.connection import FileLock

BESIDE: Final = ("testpay.db",)
"""The test provider's books: money there and orders here have to be of one instant."""
BLOBS: Final = "blobs"
TROUBLE: Final = (
    Problem,
    KeepingRefused,
    MasterKeyInvalid,
    apsw.Error,
    asyncpg.PostgresError,
    OSError,
    subprocess.SubprocessError,
)


def kept_of(place: Place) -> Kept:
    """Return what belongs to a cell. Raises KeepingRefused."""
    if place.database and not place.owner_database:
        raise KeepingRefused(
            "Copies of a cell on PostgreSQL are made by its owner: give --owner-database."
        )
    trees = () if os.environ.get(BLOBS_ENV) else (BLOBS,)
    return Kept(
        place.folder, place.owner_database if place.database else "", "local", BESIDE, trees
    )


def key_names(folder: Path) -> list[str]:
    """Return the names of the master keys that a cell has, the current one first."""
    given = os.environ.get(MASTER_KEY_ENV)
    if given:
        return [key_name(one) for one in parse_master_keys(given, MASTER_KEY_ENV)]
    file = folder / "master.key"
    return [key_name(one) for one in read_master_keys(file)] if file.exists() else []


def back_up(options: argparse.Namespace) -> int:
    """Copy a cell and say what is in the copy, and what is not."""
    from hansa.cli.main import place_of

    try:
        place = place_of(options)
        check_exists(place)
        kept = kept_of(place)
        names = key_names(place.folder)
        made = uvloop.run(backup.back_up(kept, Path(options.to), MachineClock(), master_keys=names))
    except TROUBLE as error:
        return failed(told(error))
    size = sum(part.bytes for part in made.parts)
    print(f"{options.to} has the cell as of {_at(made)}: {len(made.parts)} files, {size:,} bytes.")
    if names:
        print(
            f"Not in it: the master key {names[0]} ({_where_key(place.folder)}), without which"
            " secrets in it do not open. Keep a copy of the key somewhere else than the backups."
        )
    if os.environ.get(BLOBS_ENV):
        print(f"Not in it: the bytes of blobs, which are in the store of {BLOBS_ENV}.")
    return 0


def restore(options: argparse.Namespace) -> int:
    """Put a copy in the place of a cell, and say as of when."""
    from hansa.cli.main import place_of

    try:
        return uvloop.run(_restore(options, place_of(options)))
    except (*TROUBLE, ValueError) as error:
        return failed(told(error))


async def _restore(options: argparse.Namespace, place: Place) -> int:
    if options.source.startswith("s3://") or _is_depot(Path(options.source)):
        return await _restore_shipped(options, place)
    if options.at:
        raise KeepingRefused("A copy is of one instant; --at is for what `hansa ship` shipped.")
    source = Path(options.source)
    known = manifest.read(source)
    missing = _misses_key(known.master_keys, place.folder, options.without_key)
    # Bytes that a copy has are put into the folder, wherever the cell keeps them now.
    kept = replace(kept_of(place), trees=(BLOBS,))
    made, before = await backup.restore(source, kept, force=options.force)
    await _take_other_key(place, missing)
    print(f"The cell is restored as of {_at(made)}; what came after that is not in it.")
    _tell_before(before)
    return 0


def _is_depot(folder: Path) -> bool:
    if (folder / manifest.NAME).exists():
        return False
    return bool(shipment.parse(depot.FolderDepot(folder).names()))


async def _restore_shipped(options: argparse.Namespace, place: Place) -> int:
    if place.database:
        raise KeepingRefused("What `hansa ship` shipped is a cell on SQLite, and this is none.")
    source = depot.parse_depot(options.source)
    chain = replay.find(source, to_us(instant(options.at)) if options.at else None)
    keys = replay.head_of(source, chain[0]).master_keys
    missing = _misses_key(keys, place.folder, options.without_key)
    done = replay.restore(source, chain, kept_of(place), force=options.force)
    await _take_other_key(place, missing)
    print(
        f"The cell is restored from {len(chain)} shipments: all that was answered before"
        f" {_iso(done.last.begun_us)} is in it, and nothing that came after"
        f" {_iso(done.last.read_us)}."
    )
    _tell_before(done.before)
    return 0


def _tell_before(before: Path | None) -> None:
    if before is not None:
        print(f"What was there is in {before}; delete it when you are sure.")


def ship(options: argparse.Namespace) -> int:
    """Ship a cell's changes until SIGTERM or SIGINT, then what is left."""
    from hansa.cli.main import place_of

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        place = place_of(options)
        if place.database:
            raise KeepingRefused(
                "PostgreSQL ships its own log (pg_receivewal, archive_command): docs/keeping.md."
            )
        check_exists(place)
        _ship(place, options)
    except (*TROUBLE, ValueError) as error:
        return failed(told(error))
    return 0


def _ship(place: Place, options: argparse.Namespace) -> None:
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, end)
    _check_apart(place.folder, options.to)
    spool, rows = place.folder / ".shipping", place.folder / backup.ROWS
    to = depot.parse_depot(options.to)
    lock = FileLock(str(spool))
    try:
        shipper = Shipper(
            rows, to, MachineClock(), spool, cell=claim.named(rows),
            master_keys=key_names(place.folder), keep_s=options.keep_days * 86_400,
        )  # fmt: skip
        begins = "Shipping" if shipper.reach() else "As soon as it can be reached, shipping"
        print(
            f"{begins} {place.folder} to {options.to} every {options.every:g} s; the master key is"
            " not shipped, nor are blobs in the folder.",
            flush=True,
        )
        shipper.run(options.every, stop)
    finally:
        lock.release()


def _check_apart(folder: Path, to: str) -> None:
    """Raise KeepingRefused for a depot in the cell's own folder."""
    own = folder.resolve()
    if not to.startswith("s3://") and own in (Path(to).resolve(), *Path(to).resolve().parents):
        raise KeepingRefused(
            f"{to} is in the folder of the cell, and would be lost with it: ship to another folder,"
            " better on another disk, or to a bucket."
        )


def _misses_key(names: tuple[str, ...], folder: Path, without: bool) -> bool:
    """Tell whether the key of a copy is not here. Raises KeepingRefused unless that is said."""
    if not names or names[0] in key_names(folder):
        return False
    if without:
        return True
    raise KeepingRefused(
        f"The master key {names[0]} of this copy is neither in {folder / 'master.key'} nor in"
        f" {MASTER_KEY_ENV}. Put your copy of it there, or say --without-key: secrets and some kept"
        " answers then stay closed for good."
    )


async def _take_other_key(place: Place, missing: bool) -> None:
    """Let a cell that was restored without its key begin with another one."""
    if not missing:
        return
    storage = place.storage()
    await storage.open()
    try:
        await proof.forget(storage)
    finally:
        await storage.close()


def _iso(at_us: int) -> str:
    return from_us(at_us).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _at(made: Manifest) -> str:
    return f"{_iso(to_us(made.taken_at))} (position {made.position})"


def _where_key(folder: Path) -> str:
    return MASTER_KEY_ENV if os.environ.get(MASTER_KEY_ENV) else str(folder / "master.key")
