"""A cell for tests of the kernel: a storage with a service's tables, a directory, a runtime."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from hansa.kernel import migrating
from hansa.kernel.caller import PUBLIC_PRINCIPAL, SYSTEM, Caller, Principal
from hansa.kernel.clock import Clock, MachineClock, make_test_clock
from hansa.kernel.observe.recorder import Recorder
from hansa.kernel.runtime import Runtime
from hansa.kernel.schedule import to_us
from hansa.kernel.sealing import Sealer
from hansa.kernel.service import Service
from hansa.kernel.site import SiteInfo, slot_of
from hansa.kernel.storage import Session, Storage
from hansa.testing.looking import Looking, soon
from hansa.testing.schema import make_tables

REAL: Final = SiteInfo("site_real", slot_of("site_real"), zone="Europe/Berlin")
"""A site on the machine's clock."""
OTHER: Final = SiteInfo("site_other", slot_of("site_other"))
"""Another site on the machine's clock."""
TESTED: Final = SiteInfo("site_test", slot_of("site_test"), zone="Europe/Berlin", test_clock=True)
"""A site on a test clock."""
DAWN: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Where test clocks begin."""
MASTER: Final = bytes(range(32))

OWNER: Final = Caller(REAL.id, SYSTEM)
ANYBODY: Final = Caller(REAL.id, PUBLIC_PRINCIPAL)
TESTER: Final = Caller(TESTED.id, SYSTEM)


def key_of(site: str, *permissions: str, name: str = "key_1") -> Caller:
    """Return a caller with a key of a site."""
    return Caller(site, Principal(name, frozenset(permissions), "key", site))


@dataclass
class HandClock:
    """The machine's time, moved by the test."""

    at_us: int = to_us(DAWN)

    def now_us(self) -> int:
        return self.at_us

    def add(self, seconds: float) -> None:
        self.at_us += int(seconds * 1_000_000)


@dataclass
class Sites:
    """A directory in memory."""

    sites: dict[str, SiteInfo] = field(
        default_factory=lambda: {one.id: one for one in (REAL, OTHER, TESTED)}
    )

    async def by_id(self, site: str) -> SiteInfo | None:
        return self.sites.get(site)

    async def authenticate(self, authorization: str, host: str, site: str) -> Caller:
        return Caller(site, PUBLIC_PRINCIPAL)

    def forget(self, site: str) -> None:
        """Nothing here is remembered."""

    async def zones(self) -> Sequence[str]:
        return sorted({one.zone for one in self.sites.values() if not one.test_clock})

    async def in_zone(self, zone: str, after: str, limit: int) -> Sequence[SiteInfo]:
        ids = sorted(
            one.id
            for one in self.sites.values()
            if one.zone == zone and not one.test_clock and one.id > after
        )
        return [self.sites[id] for id in ids[:limit]]


@dataclass
class TestCell(Looking):
    """A storage and a runtime on it, with what tests ask of them."""

    __test__ = False

    storage: Storage
    services: Sequence[Service]
    runtime: Runtime


def runtime_on(
    storage: Storage,
    services: Iterable[Service],
    *,
    directory: Sites | None = None,
    clock: Clock | None = None,
    resources: Mapping[type, Any] | None = None,
    as_if_remote: bool = False,
    recorder: Recorder | None = None,
) -> Runtime:
    """Return a runtime on an open storage, not yet started."""
    return Runtime(
        services, storage, directory or Sites(), Sealer([MASTER]), clock=clock or MachineClock(),
        resources=resources, as_if_remote=as_if_remote, recorder=recorder,
    )  # fmt: skip


@asynccontextmanager
async def opened(
    storage: Storage,
    *services: Service,
    directory: Sites | None = None,
    clock: Clock | None = None,
    resources: Mapping[type, Any] | None = None,
    as_if_remote: bool = False,
    background: bool = True,
    fresh: bool = True,
    recorder: Recorder | None = None,
) -> AsyncIterator[TestCell]:
    """Open a cell with the tables of `services`; `fresh` is whether it has none yet."""
    await storage.open()
    try:
        if fresh:
            await migrating.migrate(storage, [])
            for service in services:
                if service.tables:
                    await make_tables(storage, service)
            await _set_clock(storage)
        runtime = runtime_on(
            storage, services, directory=directory, clock=clock, resources=resources,
            as_if_remote=as_if_remote, recorder=recorder,
        )  # fmt: skip
        await runtime.start(background=background)
        try:
            yield TestCell(storage, services, runtime)
        finally:
            await runtime.stop()
    finally:
        await storage.close()


async def _set_clock(storage: Storage) -> None:
    async def body(session: Session) -> None:
        await make_test_clock(session, TESTED.id, to_us(DAWN))

    await storage.write(body, site=TESTED.id, deadline=soon())
