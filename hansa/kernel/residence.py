"""Residence: what a cell keeps of the sites that have moved, or are not simply in it.

A site without a row is where the directory says, and has been from the beginning; one with a row is
what the row says, whatever anybody remembers of the directory.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from hansa.kernel import codec
from hansa.kernel.moving.protocol import Row
from hansa.kernel.relations import sql
from hansa.kernel.site import SiteInfo
from hansa.kernel.storage import PLATFORM, Session

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

_READ: Final = "SELECT state, epoch, at_us, followed FROM hansa_sites WHERE site = ?1"
_AMONG: Final = {
    "sqlite": """SELECT site, state, at_us FROM hansa_sites
WHERE site IN (SELECT value FROM json_each(?1))""",
    "postgresql": "SELECT site, state, at_us FROM hansa_sites WHERE site = ANY ($1::text[])",
}
_WRITE: Final = """INSERT INTO hansa_sites (site, state, epoch, at_us, followed)
VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (site) DO UPDATE SET state = excluded.state,
epoch = excluded.epoch, at_us = excluded.at_us, followed = excluded.followed"""
_LOCKED: Final = {"sqlite": _READ, "postgresql": f"{_READ} FOR UPDATE"}
UNTIL: Final = "until_us"
"""What stands in `followed` of a site that is coming: until when its copy is left alone."""
NOT_AWAY: Final = """AND NOT EXISTS (SELECT 1 FROM hansa_sites s
WHERE s.site = {table}.site AND s.state <> 'here')"""
"""The condition on a row that is not to be touched while its site is closed."""


async def read(
    session: Session, site: str, *, lock: bool = False
) -> tuple[Row | None, int, dict[str, int]]:
    """Return what is kept of a site, since when, and how far other cells were followed then; with
    `lock` that stays so until the transaction ends."""
    text = _LOCKED[session.dialect] if lock else _READ
    found = await session.fetch(sql(session, text), (site,))
    if not found:
        return None, 0, {}
    state, epoch, at_us, followed = found[0]
    token = at_us if state == "coming" else 0
    return Row(state, epoch, token), at_us, codec.decode(followed, dict[str, int])


async def write(
    session: Session, site: str, row: Row, at_us: int, followed: dict[str, int] | None = None
) -> None:
    """Keep what a site is from now on."""
    text = codec.encode(followed or {}).decode()
    arguments = (site, row.state, row.epoch, row.token or at_us, text)
    await session.run(sql(session, _WRITE), arguments)


async def here(
    session: Session, runtime: "Runtime", sites: Iterable[SiteInfo]
) -> dict[str, tuple[SiteInfo, int]]:
    """Return those of some sites that are in this cell, each with the instant before which all of
    it happened elsewhere; 0 for one that has always been here."""
    every = {one.id: one for one in sites}
    if not runtime.shares_sites:
        return {id: (one, 0) for id, one in every.items()}
    names: Any = list(every)
    given = codec.encode(names).decode() if session.dialect == "sqlite" else names
    known = {row[0]: row[1:] for row in await session.fetch(_AMONG[session.dialect], (given,))}
    found: dict[str, tuple[SiteInfo, int]] = {}
    for id, one in every.items():
        at_home = id == PLATFORM or runtime.is_home(one)
        state, at_us = known.get(id, ("here" if at_home else "gone", 0))
        if state == "here":
            found[id] = (one, at_us)
    return found
