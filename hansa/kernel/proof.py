"""Proof: a value sealed in each cell, by which it knows its master key again.

Only a cell that has none yet may be given a new key. What must never happen here: a cell that goes
on under another key, as if what the one before has sealed were not there.
"""

from typing import Final

from hansa.kernel.commands import deadline_in
from hansa.kernel.relations import sql
from hansa.kernel.resealing import PROOF
from hansa.kernel.sealing import Sealer
from hansa.kernel.storage import PLATFORM, Session, Storage

NAME: Final = "master key"
WAIT_S: Final = 30.0
_PLAIN: Final = b"hansa"
_FIND: Final = "SELECT value FROM hansa_proof WHERE name = ?1"
_KEEP: Final = "INSERT INTO hansa_proof (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING"
_FORGET: Final = "DELETE FROM hansa_proof WHERE name = ?1"


async def find(storage: Storage) -> bytes | None:
    """Return the proof of a cell; None where no key has sealed anything yet."""

    async def body(session: Session) -> bytes | None:
        rows = await session.fetch(sql(session, _FIND), (NAME,))
        return bytes(rows[0][0]) if rows else None

    return await storage.read(body, site=PLATFORM, deadline=deadline_in(WAIT_S), across=True)


async def keep(storage: Storage, sealer: Sealer) -> bytes:
    """Seal a proof where there is none, and return the one that is there then: of several
    processes that begin at once one is first."""
    fresh = sealer.seal(PROOF.purpose, NAME, _PLAIN)

    async def body(session: Session) -> None:
        await session.run(sql(session, _KEEP), (NAME, fresh))

    await storage.write(body, site=PLATFORM, deadline=deadline_in(WAIT_S), across=True)
    return await find(storage) or fresh


async def forget(storage: Storage) -> None:
    """Let the cell take another key: the one before is lost, and what it sealed stays closed."""

    async def body(session: Session) -> None:
        await session.run(sql(session, _FORGET), (NAME,))

    await storage.write(body, site=PLATFORM, deadline=deadline_in(WAIT_S), across=True)


def opens(sealer: Sealer, value: bytes) -> bool:
    """Tell whether the keys of a sealer are those of the cell with this proof.

    The key's name in it, a hash, tells that. To open it would take six megabytes for what ciphers
    need, also where nothing is ever sealed.
    """
    return sealer.has_key_of(value)
