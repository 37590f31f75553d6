"""Rows: what the directory reads of the platform's rows, wherever they are.

The process that serves the sites reads its own cell; any other one asks it (see `api.lookups`).
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Protocol, TypeVar

from sqlalchemy import and_

from hansa.kernel import machine
from hansa.kernel.compiler import Statements, param, select
from hansa.kernel.database import Db
from hansa.kernel.ids import ID
from hansa.kernel.storage import PLATFORM, Session, Storage
from hansa.kernel.structs import Struct
from hansa.platform.sites import tables
from hansa.platform.sites.limits import LIMITS

T = TypeVar("T")

READ_S: Final = 5.0


class SiteRow(Struct):
    """A site."""

    id: ID
    slot: int
    epoch: int
    name: str
    state: str
    locale: str
    currency: str
    zone: str
    test_clock: bool
    cell: str
    limits: bytes | None


class KeyRow(Struct):
    """A key, with the hash of its secret."""

    id: ID
    site_id: ID
    hash: str
    permissions: tuple[str, ...]
    expires_at: datetime | None
    revoked_at: datetime | None


class ClockRow(Struct):
    """Where a test clock stands, and up to where its schedules have run."""

    now_us: int
    ticked_us: int


class SettingRow(Struct):
    """A setting as it is kept."""

    value: bytes
    is_sealed: bool


_c = tables.sites.c
_SITE: Final = [
    _c.id, _c.slot, _c.epoch, _c.name, _c.state, _c.locale, _c.currency, _c.zone, _c.test_clock,
    _c.cell, tables.settings.c.value.label("limits"),
]  # fmt: skip
_limited = tables.sites.outerjoin(
    tables.settings,
    and_(tables.settings.c.site_id == _c.id, tables.settings.c.name == LIMITS.name),
)
_by_id = select(*_SITE).select_from(_limited).where(_c.id == param("id"))
_by_host = select(tables.hosts.c.site_id).where(tables.hosts.c.host == param("host"))
_by_key = select(
    tables.keys.c.id,
    tables.keys.c.site_id,
    tables.keys.c.hash,
    tables.keys.c.permissions,
    tables.keys.c.expires_at,
    tables.keys.c.revoked_at,
).where(tables.keys.c.id == param("id"))
_by_setting = select(tables.settings.c.value, tables.settings.c.is_sealed).where(
    tables.settings.c.site_id == param("site_id"), tables.settings.c.name == param("name")
)
_on_real_time = (_c.state == "active", _c.test_clock.is_(False))
_zones = select(_c.zone).where(*_on_real_time).distinct()
_in_zone = (
    select(*_SITE)
    .select_from(_limited)
    .where(*_on_real_time, _c.zone == param("zone"), _c.id > param("after"))
    .order_by(_c.id)
    .limit(param("limit"))
)


async def site_of(db: Db, id: ID) -> SiteRow | None:
    """Return a site."""
    return await db.first(_by_id, SiteRow, id=id)


async def site_of_host(db: Db, host: str) -> ID | None:
    """Return the site that a host leads to."""
    return await db.first(_by_host, str, host=host)


async def key_of(db: Db, id: ID) -> KeyRow | None:
    """Return a key."""
    return await db.first(_by_key, KeyRow, id=id)


async def setting_of(db: Db, site: ID, name: str) -> SettingRow | None:
    """Return a setting of a site."""
    return await db.first(_by_setting, SettingRow, site_id=site, name=name)


async def zones_of(db: Db) -> list[str]:
    """Return the time zones of all active sites on the real clock."""
    return await db.all(_zones, str)


async def sites_in_zone(db: Db, zone: str, after: ID, limit: int) -> list[SiteRow]:
    """Return active sites of a zone on the real clock, by id, after one."""
    return await db.all(_in_zone, SiteRow, zone=zone, after=after, limit=limit)


class Rows(Protocol):
    """Where the directory reads."""

    async def site(self, id: ID) -> SiteRow | None:
        """See `site_of`."""
        ...

    async def host(self, host: str) -> ID | None:
        """See `site_of_host`."""
        ...

    async def key(self, id: ID) -> KeyRow | None:
        """See `key_of`."""
        ...

    async def setting(self, site: ID, name: str) -> SettingRow | None:
        """See `setting_of`."""
        ...

    async def zones(self) -> Sequence[str]:
        """See `zones_of`."""
        ...

    async def in_zone(self, zone: str, after: ID, limit: int) -> Sequence[SiteRow]:
        """See `sites_in_zone`."""
        ...


class CellRows:
    """The rows of the cell that has them."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._statements = Statements(storage.dialect)

    async def site(self, id: ID) -> SiteRow | None:
        """See `site_of`."""
        return await self._read(lambda db: site_of(db, id))

    async def host(self, host: str) -> ID | None:
        """See `site_of_host`."""
        return await self._read(lambda db: site_of_host(db, host))

    async def key(self, id: ID) -> KeyRow | None:
        """See `key_of`."""
        return await self._read(lambda db: key_of(db, id))

    async def setting(self, site: ID, name: str) -> SettingRow | None:
        """See `setting_of`."""
        return await self._read(lambda db: setting_of(db, site, name))

    async def zones(self) -> Sequence[str]:
        """See `zones_of`."""
        return await self._read(zones_of)

    async def in_zone(self, zone: str, after: ID, limit: int) -> Sequence[SiteRow]:
        """See `sites_in_zone`."""
        return await self._read(lambda db: sites_in_zone(db, zone, after, limit))

    async def _read(self, ask: Callable[[Db], Awaitable[T]]) -> T:
        async def body(session: Session) -> T:
            return await ask(Db(session, PLATFORM, "sites", self._statements, _no_new_id))

        return await self._storage.read(body, site=PLATFORM, deadline=machine.monotonic() + READ_S)


def _no_new_id(prefix: str) -> ID:
    raise TypeError(f"the directory only reads; no new {prefix}")
