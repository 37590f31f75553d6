"""Claim: of which cell a depot is, and which process ships to it now.

The first shipping gives a cell a random name, which is in its rows: so every copy of it has that
name, and goes on where it was restored from. A depot has the name of its cell, and that of the
process that began to ship last; each one looks there before it brings something. What must never
happen here: changes of two cells in one depot, or of two processes as if they followed each other.
"""

import secrets
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from hansa.kernel import codec
from hansa.kernel.keeping import pages, shipment
from hansa.kernel.keeping.depot import Depot
from hansa.kernel.keeping.manifest import KeepingRefused
from hansa.kernel.structs import Struct

FORMAT: Final = 1
NAME: Final = "depot.json"
_BYTES_MAX: Final = 1 << 12
_TABLE: Final = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'hansa_cell'"
# On SQLite nothing else has rows there: no other process gives positions.
_FIND: Final = "SELECT cell FROM hansa_cell WHERE epoch = 0"
_KEEP: Final = "INSERT INTO hansa_cell (cell, epoch, position) VALUES (?1, 0, 0)"


class Claim(Struct):
    """What a depot says of itself."""

    format: int
    cell: str
    shipper: str


def name_of(rows: apsw.Connection) -> str:
    """Return the name of the cell whose rows these are; nothing if it was never shipped."""
    if not rows.execute(_TABLE).fetchall():
        return ""
    found = rows.execute(_FIND).fetchall()
    return str(found[0][0]) if found else ""


def named(file: Path) -> str:
    """Return the name of a SQLite cell, which may be in use, and give it one if it has none.
    Raises apsw.Error."""
    with closing(pages.connect(file)) as rows:
        known = name_of(rows)
        if known:
            return known
        rows.execute("BEGIN IMMEDIATE")
        known = name_of(rows)  # somebody may have been first
        if not known:
            known = f"cell_{secrets.token_hex(16)}"
            rows.execute(_KEEP, (known,))
        rows.execute("COMMIT")
    return known


def take(depot: Depot, cell: str) -> Claim:
    """Have a depot be of a cell, and of this process from now on.

    Raises KeepingRefused, before anything is written, for one that is of another cell or does not
    say of which; and OSError.
    """
    found = read(depot)
    if found is None and shipment.parse(depot.names()):
        raise KeepingRefused(
            f"The depot has shipments and no {NAME}, which says of which cell they are (older"
            " versions wrote none). Ship to a new folder or prefix; what is there can still be"
            " restored."
        )
    if found is not None and found.cell != cell:
        raise KeepingRefused(
            f"The depot is of another cell: it is of {found.cell}, and this is {cell}. Each cell"
            " has a depot of its own: ship to another folder or prefix."
        )
    claim = Claim(FORMAT, cell, secrets.token_hex(8))
    write(depot, claim)
    return claim


def write(depot: Depot, claim: Claim) -> None:
    """Write what a depot says of itself. Raises OSError."""
    with tempfile.NamedTemporaryFile() as draft:
        draft.write(codec.encode(claim) + b"\n")
        draft.flush()
        depot.put(NAME, Path(draft.name))


def read(depot: Depot) -> Claim | None:
    """Return what a depot says of itself; None where there is nothing. Raises KeepingRefused where
    it is not known, and OSError."""
    text = depot.find(NAME)
    if text is None:
        return None
    try:
        known: dict[str, Any] = msgspec.json.decode(text[:_BYTES_MAX], type=dict[str, Any])
        if known.get("format") != FORMAT:
            raise KeepingRefused(
                f"The depot has the format {known.get('format')}; this version knows {FORMAT}."
            )
        found: Claim = codec.decode(text, Claim)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        told = f"The depot's {NAME} is damaged: {error}. Take it away to restore what is there."
        raise KeepingRefused(told) from None
    return found


def is_there(depot: Depot, claim: Claim) -> bool:
    """Tell whether a depot still says what we wrote; not if that is gone. Raises KeepingRefused
    when somebody else has it now, and OSError."""
    found = read(depot)
    if found is None or found == claim:
        return found is not None
    if found.cell != claim.cell:
        raise KeepingRefused("The depot is now of another cell: ship to another folder or prefix.")
    raise KeepingRefused(
        "Another process has begun to ship a copy of this cell to the depot, so this one ends: two"
        " would hide what the other brings. Stop one for good, or ship to another folder or prefix."
    )
