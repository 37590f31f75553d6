# pyright: reportPrivateUsage=false
"""Keeping: `hansa backup`, `hansa restore` and `hansa ship`."""

import argparse
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import apsw
import asyncpg
import uvloop

from hansa.assembly import BLOBS_ENV, Place
from hansa.cli.serving import check_exists, failed, told
from hansa.kernel.clock import MachineClock
from hansa.kernel.keeping import backup, manifest
from hansa.kernel.keeping.backup import Kept
from hansa.kernel.keeping.manifest import KeepingRefused, Manifest
from hansa.kernel.problems import Problem
from hansa.kernel.sealing import (
    MASTER_KEY_ENV,
    MasterKeyInvalid,
    key_name,
    parse_master_keys,
    read_master_keys,
)

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
    except TROUBLE as error:
        return failed(told(error))


async def _restore(options: argparse.Namespace, place: Place) -> int:
    source = Path(options.source)
    known = manifest.read(source)
    _check_key(known.master_keys, place.folder, options.without_key)
    made, before = await backup.restore(source, kept_of(place), force=options.force)
    print(f"The cell is restored as of {_at(made)}; what came after that is not in it.")
    if before is not None:
        print(f"What was there is in {before}; delete it when you are sure.")
    return 0


def _check_key(names: tuple[str, ...], folder: Path, without: bool) -> None:
    """Refuse a restore whose secrets nobody could open: the next start would make another key."""
    if not names or names[0] in key_names(folder) or without:
        return
    raise KeepingRefused(
        f"The master key {names[0]} of this copy is neither in {folder / 'master.key'} nor in"
        f" {MASTER_KEY_ENV}. Put your copy of it there, or say --without-key: secrets and some kept"
        " answers then stay closed for good."
    )


def _at(made: Manifest) -> str:
    at: Any = made.taken_at
    return (
        f"{at.isoformat(timespec='milliseconds').replace('+00:00', 'Z')} (position {made.position})"
    )


def _where_key(folder: Path) -> str:
    return MASTER_KEY_ENV if os.environ.get(MASTER_KEY_ENV) else str(folder / "master.key")
