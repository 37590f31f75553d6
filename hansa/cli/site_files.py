# pyright: reportPrivateUsage=false
"""Site files: `hansa sites export`, `import` and `erase`."""

import argparse
import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from hansa.assembly import BLOBS_ENV, BYTES_TABLES, Place
from hansa.cli.keeping import TROUBLE, key_names
from hansa.cli.secrets import SETTLE_S
from hansa.cli.serving import check_exists, check_migrated, failed, sure_of, told
from hansa.kernel.clock import MachineClock
from hansa.kernel.commands import deadline_in
from hansa.kernel.keeping import carrying, erasing, sitefile
from hansa.kernel.keeping.belongings import Belonging, belongings
from hansa.kernel.keeping.manifest import KeepingRefused
from hansa.kernel.migrating import MigrationRefused
from hansa.kernel.observe import archive
from hansa.kernel.observe.options import FILE as OBSERVED
from hansa.kernel.relations import sql
from hansa.kernel.site import slot_of
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import Session, Storage
from hansa.platform.blobs.api import FolderStore, check_key, parse_store
from hansa.platform.search.folders import erase_indexes
from hansa.project import services

CELL: Final = "local"
READ_S: Final = 30.0


def run(options: argparse.Namespace) -> int:
    """Do what the verb says."""
    from hansa.cli.main import place_of

    try:
        if options.url:
            raise KeepingRefused("This works on the cell itself: leave --url and HANSA_URL away.")
        return uvloop.run(_run(options, place_of(options)))
    except (*TROUBLE, MigrationRefused, erasing.StillWritten, ValueError) as error:
        return failed(told(error))


async def _run(options: argparse.Namespace, place: Place) -> int:
    check_exists(place)
    storage = place.storage()
    await storage.open()
    try:
        await check_migrated(storage, services())
        rows = belongings(services())
        if options.verb == "export":
            return await _export(storage, rows, options, place)
        if options.verb == "import":
            await place.sealer(storage)  # which refuses a key that is not the cell's
            return await _import(storage, rows, Path(options.file), place)
        return await _erase(storage, rows, options, place)
    finally:
        await storage.close()


async def _export(
    storage: Storage, rows: list[Belonging], options: argparse.Namespace, place: Place
) -> int:
    file, site = Path(options.to), sitefile.check_site(options.site)
    with sitefile.created(file) as out:
        end = await carrying.export(
            storage, rows, site, (await _home(storage, site)).slot, out, MachineClock(),
            master_keys=key_names(place.folder),
        )  # fmt: skip
    print(f"{file} has {sum(end.rows.values())} rows of {site}, as of one instant.")
    print("What is sealed in it opens only with the master key, which is not in it.")
    if blobs := sum(end.rows.get(name, 0) for name in BYTES_TABLES[:1]):
        print(f"Not in it: the bytes of {blobs} blobs; copy {_store(place)}/{site} as well.")
    return 0


async def _import(storage: Storage, rows: list[Belonging], file: Path, place: Place) -> int:
    with sitefile.opened(file) as stream:
        source = sitefile.Reader(stream)
        end = await carrying.take_in(
            storage, rows, source, MachineClock(),
            cell=CELL, check_key=check_key, stored=BYTES_TABLES,
        )  # fmt: skip
    print(f"{source.head.site} is here, with {sum(end.rows.values())} rows.")
    keys = source.head.master_keys
    if keys and keys[0] not in key_names(place.folder):
        print(
            f"What is sealed in them opens with the master key {keys[0]} alone. Put it behind the"
            " one of this cell in HANSA_MASTER_KEY, and run `hansa secrets rotate`."
        )
    if blobs := sum(end.rows.get(name, 0) for name in BYTES_TABLES[:1]):
        print(f"The bytes of {blobs} blobs belong into {_store(place)}/{source.head.site}.")
    return 0


async def _erase(
    storage: Storage, rows: list[Belonging], options: argparse.Namespace, place: Place
) -> int:
    site = sitefile.check_site(options.site)
    known = await _home(storage, site)
    if known.move != "none":
        raise KeepingRefused(
            f"{site} is being moved: finish the move, or take it back, with `hansa sites move`"
            " first."
        )
    if not options.yes and not await sure_of(
        f"All of {site} goes and nothing brings it back. Type its id to go on: ", site
    ):
        return failed("that is not its id; nothing was erased")
    settle_s = options.settle_s
    if settle_s is None:  # nobody else has SQLite's file open
        settle_s = SETTLE_S if place.database else 0.0

    async def settle() -> None:
        if settle_s:
            print(f"this waits {settle_s:g} s for what other processes have begun", flush=True)
            await asyncio.sleep(settle_s)
        await _erase_bytes(storage, site, place)

    async def scrub() -> None:
        if isinstance(storage, SqliteStorage):  # nobody has it open, nor what lies beside it
            await storage.scrub()
            archive.remove(place.folder / OBSERVED)
        erase_indexes(place.indexes, site)

    gone = await erasing.erase(
        storage, rows, site, MachineClock(),
        settle=settle, scrub=scrub, cell=known.cell, rest=options.rest,
    )  # fmt: skip
    print(
        f"{site} is erased: {sum(gone.values())} rows. Copies of the cell still have it until they"
        " end, and so do the books of the payment provider."
    )
    return 0


async def _erase_bytes(storage: Storage, site: str, place: Place) -> None:
    """Take the bytes of a site's blobs away while there still are rows that tell of them."""
    store = parse_store(os.environ.get(BLOBS_ENV, ""), place.folder)
    for table in BYTES_TABLES:
        after: str | None = ""
        while after is not None:
            names = await _blobs(storage, table, site, after)
            for name in names:
                await store.erase(f"{site}/{name}")
            after = names[-1] if names else None
    if isinstance(store, FolderStore):
        await store.erase_site(site)


async def _blobs(storage: Storage, table: str, site: str, after: str) -> list[str]:
    text = f"SELECT id FROM {table} WHERE site = ?1 AND id > ?2 ORDER BY id LIMIT 500"

    async def body(session: Session) -> list[str]:
        return [row[0] for row in await session.fetch(sql(session, text), (site, after))]

    return await storage.read(body, site=site, deadline=deadline_in(READ_S), across=True)


@dataclass(frozen=True)
class _Home:
    """What the home keeps of a site; elsewhere nothing is known of it."""

    slot: int
    cell: str = ""
    move: str = "none"


async def _home(storage: Storage, site: str) -> _Home:
    """Return the site's slot, which is its own if it is pinned, else by hash, and where it is."""

    async def body(session: Session) -> _Home:
        text = "SELECT slot, cell, move FROM sites_sites WHERE id = ?1"
        found = await session.fetch(sql(session, text), (site,))
        return _Home(*found[0]) if found else _Home(slot_of(site))

    return await storage.read(body, site=site, deadline=deadline_in(READ_S), across=True)


def _store(place: Place) -> str:
    return os.environ.get(BLOBS_ENV, "") or str(place.folder / "blobs")
