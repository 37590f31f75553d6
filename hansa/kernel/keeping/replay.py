"""Replay: a SQLite cell put together again from what was shipped, as it was at an instant."""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import apsw

from hansa.kernel.keeping import backup, claim, depot, shipment
from hansa.kernel.keeping.backup import ROWS, Kept
from hansa.kernel.keeping.depot import Depot
from hansa.kernel.keeping.manifest import KeepingRefused, sync
from hansa.kernel.keeping.shipment import Head, Shipment


@dataclass(frozen=True)
class Replayed:
    """What was restored: the last shipment of it, and where the cell before is now."""

    last: Shipment
    before: Path | None


def find(source: Depot, at_us: int | None) -> list[Shipment]:
    """Return the shipments to restore. Raises KeepingRefused."""
    return shipment.up_to(shipment.parse(source.names()), at_us)


def restore(source: Depot, chain: list[Shipment], kept: Kept, *, force: bool = False) -> Replayed:
    """Put the file of some shipments in the place of a cell's. What is beside it stays.

    Raises KeepingRefused before anything is changed, and OSError.
    """
    of = claim.read(source)
    backup.check_vacant(kept, force=force)
    kept.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".restoring-", dir=kept.folder))
    try:
        file = draft / ROWS
        digest = ""
        for one in chain:
            _, digest = shipment.apply(depot.reader(source, one.name), file, digest)
        _check(file, of.cell if of else "")
        sync(file)
        before = backup.place_rows(draft, [ROWS], replace(kept, beside=()), force=force)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Replayed(chain[-1], before)


def head_of(source: Depot, first: Shipment) -> Head:
    """Return what the first shipment of a generation says. Raises KeepingRefused."""
    return shipment.read_head(depot.reader(source, first.name))


def _check(file: Path, cell: str) -> None:
    connection = apsw.Connection(str(file))
    known = ""
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchall()[0][0]
        connection.pragma("journal_mode", "delete")
        known = claim.name_of(connection)
    except apsw.Error as error:
        found = str(error)
    finally:
        connection.close(True)
    if found != "ok":
        raise KeepingRefused(f"What was shipped does not make a sound file: {found}.")
    if cell and known and known != cell:
        raise KeepingRefused(
            f"What was shipped last is of {known}, and the depot is of {cell}: give an instant from"
            " before that with --at."
        )
