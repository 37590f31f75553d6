"""Assembly: one process of Hansa put together from where its rows are and what it serves.

The command line, the tests and the torture all start from here, so that they run the same thing.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hansa.business.commerce import api as commerce_api
from hansa.business.commerce import commerce
from hansa.business.commerce.payments import Payments
from hansa.business.commerce.testpay import Testpay
from hansa.kernel import migrating
from hansa.kernel.attempts import attempts
from hansa.kernel.caller import PUBLIC_PRINCIPAL, SYSTEM, Caller
from hansa.kernel.clock import Clock, MachineClock
from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.mounts import AsgiApp
from hansa.kernel.migrating import Step
from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.problems import Problem
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.face import Face
from hansa.kernel.remote.following import Follower, followers
from hansa.kernel.remote.passport import Seal
from hansa.kernel.remote.placement import Placement
from hansa.kernel.runtime import EVERYWHERE, Runtime
from hansa.kernel.sealing import MASTER_KEY_ENV, Sealer, load_sealer
from hansa.kernel.service import Service
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import PLATFORM, Storage
from hansa.kernel.structs import RawBody
from hansa.platform.blobs import api as blobs_api
from hansa.platform.blobs import blobs
from hansa.platform.blobs.api import MOUNT, Bytes, parse_store
from hansa.platform.blobs.serving import BlobServer
from hansa.platform.mail import api as mail_api
from hansa.platform.mail import mail
from hansa.platform.mail.api import SMTP, Mailer, Smtp, parse_server
from hansa.platform.sites import api as sites_api
from hansa.platform.sites import sites
from hansa.platform.sites.api import Directory
from hansa.platform.sites.asking import AskedRows
from hansa.platform.sites.rows import CellRows, Rows
from hansa.platform.webhooks import api as webhooks_api
from hansa.platform.webhooks import webhooks
from hansa.platform.webhooks.api import Poster, parse_networks

logger = logging.getLogger("hansa")

SERVICES: Final[tuple[Service, ...]] = (attempts, sites, webhooks, mail, blobs, commerce)
HANDLERS: Final = (blobs_api, commerce_api, mail_api, sites_api, webhooks_api)
"""The modules that declare the services' handlers when they are imported."""
OUTWARD_ENV: Final = "HANSA_OUTWARD_NETWORKS"
"""Networks inside that sites may have webhooks sent to, as 127.0.0.0/8,10.2.0.0/16; none unless it
is set."""
SMTP_ENV: Final = "HANSA_SMTP"
"""The server that takes the mail of sites that have none of their own (`mail.parse_server`)."""
BLOBS_ENV: Final = "HANSA_BLOBS"
"""Where blobs are (`blobs.parse_store`); without it in the folder of the cell."""
OPERATOR: Final = Caller(PLATFORM, SYSTEM)


@dataclass(frozen=True)
class Place:
    """Where a cell's rows are: a folder with a SQLite file, or a PostgreSQL database."""

    folder: Path
    database: str = ""
    owner_database: str = ""
    vfs: str | None = None
    synchronous: str = "FULL"

    def storage(self) -> Storage:
        """Return the storage of this place, not yet opened."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # customers' rows lie there
        if self.database:
            return PostgresStorage(self.database, owner_dsn=self.owner_database)
        return SqliteStorage(
            self.folder / "hansa.db",
            vfs=self.vfs,
            synchronous=self.synchronous,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        )


@dataclass
class Cell:
    """A running process: `open` it, use `runtime` and `app`, `close` it."""

    place: Place
    services: Sequence[Service] = SERVICES
    as_if_remote: bool = False
    background: bool = True
    placement: Placement | None = None
    """Where the services are that do not run here; without it all do."""
    hosted: Sequence[str] = ()
    """The services that run here, as one entry of the placement has them."""
    testpay: bool = False
    """Whether the test provider takes the shop's payments; without it there is none."""
    clock: Clock = field(default_factory=MachineClock)
    storage: Storage = field(init=False)
    runtime: Runtime = field(init=False)
    directory: Directory = field(init=False)
    app: HttpApp = field(init=False)
    provider: Testpay | None = field(default=None, init=False)
    poster: Poster = field(
        default_factory=lambda: Poster(parse_networks(os.environ.get(OUTWARD_ENV, "")))
    )
    remote: Remote | None = field(default=None, init=False)
    seal: Seal | None = field(default=None, init=False)
    _followers: list[Follower] = field(default_factory=list[Follower], init=False)
    mounts: dict[str, AsgiApp] = field(init=False)
    """The applications beside the operations, by prefix."""
    mail_tls: ssl.SSLContext | None = None
    _pump: "asyncio.Task[None] | None" = field(default=None, init=False)

    async def open(self, *, migrate: bool = True) -> list[Step]:
        """Connect, migrate if wanted, and start; return the revisions that were applied."""
        sealer = self._sealer()
        self.storage = self.place.storage()
        await self.storage.open()
        done: list[Step] = []
        if migrate:
            done = await migrating.migrate(self.storage, self.services)
        hosted = self._join(sealer)
        alone = self.storage.dialect == "sqlite" and self.remote is None
        self.directory = Directory(self._rows(hosted), sealer, self.clock, alone=alone)
        if self.testpay:
            self.provider = Testpay(str(self.place.folder / "testpay.db"))
        store = parse_store(os.environ.get(BLOBS_ENV, ""), self.place.folder)
        self.runtime = Runtime(
            self.services,
            self.storage,
            self.directory,
            sealer,
            clock=self.clock,
            resources={
                Payments: Payments(self.provider),
                Poster: self.poster,
                Mailer: self._mailer(),
                Bytes: Bytes(store),
            },
            as_if_remote=self.as_if_remote,
            remote=self.remote,
            hosted=hosted,
        )
        self.app = HttpApp(self.runtime)
        if self.remote is not None and self.seal is not None:
            self.app.inner = Face(self.runtime, self.seal)
            self._followers = followers(self.runtime, self.remote)
        self.mounts = {MOUNT: BlobServer(self.runtime, store)} if blobs.name in hosted else {}
        await self.runtime.start(background=self.background)
        if self.background:
            for one in self._followers:
                await one.start()
        if self.provider is not None and self.background:
            pump = self.provider.pump(self._deliver)
            self._pump = asyncio.create_task(pump, name="hansa-testpay")
        return done

    def _join(self, sealer: Sealer) -> frozenset[str]:
        """Find the way to the other processes; return which services run here."""
        if self.placement is None:
            return frozenset(service.name for service in self.services)
        self.seal = Seal(lambda: sealer.derived("hansa/link"))
        own = self.placement.own(self.hosted)
        self.remote = Remote(self.placement, own, self.seal, self.clock)
        return frozenset({*own.services, EVERYWHERE})

    def _rows(self, hosted: frozenset[str]) -> Rows:
        if sites.name in hosted or self.remote is None:
            return CellRows(self.storage)
        return AskedRows(self.remote)

    def _sealer(self) -> Sealer:
        return load_sealer(self.place.folder / "master.key", os.environ.get(MASTER_KEY_ENV))

    def _mailer(self) -> Mailer:
        async def server_of(site: str) -> Smtp | None:
            return await self.directory.setting(site, SMTP)

        default = parse_server(os.environ.get(SMTP_ENV, ""))
        return Mailer(server_of, default, tls=self.mail_tls)

    async def _deliver(self, site: str, body: bytes, headers: dict[str, str]) -> bool:
        """Bring a webhook of the test provider to the shop, as its server would."""
        operation = self.runtime.by_id["commerce.receive_webhook"]
        raw = RawBody(body, headers)
        try:
            await self.runtime.do(operation, Caller(site, PUBLIC_PRINCIPAL), {"raw": raw})
        except Problem as problem:
            logger.warning("a webhook was refused: %s", problem)
            return problem.status < 500
        except Exception:
            logger.exception("a webhook failed; it is sent again")
            return False
        return True

    async def close(self) -> None:
        """Stop and disconnect, in good order."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        for one in self._followers:
            await one.stop()
        await self.runtime.stop()
        if self.remote is not None:
            self.remote.close()
        await self.storage.close()
