"""Assembly: one process of Hansa put together from where its rows are and what it serves.

The command line, the tests and the torture all start from here, so that they run the same thing.
"""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hansa.kernel import migrating, proof
from hansa.kernel.attempts import attempts
from hansa.kernel.caller import PUBLIC_PRINCIPAL, SYSTEM, Caller
from hansa.kernel.calling import EVERYWHERE
from hansa.kernel.clock import Clock, MachineClock
from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.mounts import AsgiApp, Message
from hansa.kernel.http.proxies import PROXIES_ENV, Proxies, parse_proxies
from hansa.kernel.interventions import interventions
from hansa.kernel.migrating import Step
from hansa.kernel.problems import Problem
from hansa.kernel.runtime import Runtime
from hansa.kernel.sealing import (
    MASTER_KEY_ENV,
    MasterKeyInvalid,
    Sealer,
    key_name_of,
    load_sealer,
)
from hansa.kernel.service import Service
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import PLATFORM, Storage
from hansa.kernel.structs import RawBody
from hansa.platform.sites import sites
from hansa.platform.sites.api import Directory
from hansa.platform.sites.rows import CellRows, Rows

if TYPE_CHECKING:
    from hansa.business.commerce.testpay import Testpay
    from hansa.console import Door
    from hansa.kernel.moving.face import MovingFace
    from hansa.kernel.moving.lookout import Lookout
    from hansa.kernel.observe.observer import Observer
    from hansa.kernel.observe.options import Options
    from hansa.kernel.remote.calls import Remote
    from hansa.kernel.remote.following import Follower
    from hansa.kernel.remote.passport import Seal
    from hansa.kernel.remote.placement import Placement
    from hansa.platform.mail.api import Mailer, Smtp
    from hansa.platform.search.indexes import Indexes
    from hansa.platform.webhooks.api import Poster

logger = logging.getLogger("hansa")

SHOP: Final = "commerce"
SEARCH: Final = "search"
OUTWARD_ENV: Final = "HANSA_OUTWARD_NETWORKS"
"""Networks inside that sites may have webhooks sent to, as 127.0.0.0/8,10.2.0.0/16; none unless it
is set."""
SMTP_ENV: Final = "HANSA_SMTP"
"""The server that takes the mail of sites that have none of their own (`mail.parse_server`)."""
BLOBS_ENV: Final = "HANSA_BLOBS"
"""Where blobs are (`blobs.parse_store`); without it in the folder of the cell."""
SEARCH_ENV: Final = "HANSA_SEARCH"
"""The folder that indexes are made in; without it in the folder of the cell."""
BYTES_TABLES: Final = ("blobs_blobs", "blobs_loose")
"""The tables whose rows stand for bytes in the store of blobs."""
OPERATOR: Final = Caller(PLATFORM, SYSTEM)
Check = Callable[[Storage, Sequence[Service]], Awaitable[None]]

if TYPE_CHECKING:
    SERVICES: tuple[Service, ...]
    """All services that come with Hansa."""


def __getattr__(name: str) -> tuple[Service, ...]:
    """Import the services when somebody wants them all: a project may have only its own."""
    if name != "SERVICES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hansa.business.commerce import api as commerce_api
    from hansa.business.commerce import commerce
    from hansa.platform.blobs import api as blobs_api
    from hansa.platform.blobs import blobs
    from hansa.platform.mail import api as mail_api
    from hansa.platform.mail import mail
    from hansa.platform.search import api as search_api
    from hansa.platform.search import search
    from hansa.platform.webhooks import api as webhooks_api
    from hansa.platform.webhooks import webhooks

    # They declare the handlers.
    assert all((commerce_api, blobs_api, mail_api, search_api, webhooks_api))
    return (attempts, interventions, sites, webhooks, mail, blobs, search, commerce)


def _all_services() -> tuple[Service, ...]:
    return __getattr__("SERVICES")


def of_platform(services: Sequence[Service]) -> list[str]:
    """Return the names of the services that keep rows of the platform."""
    return [
        one.name
        for one in services
        if any(table.info["scope"] == "platform" for table in one.tables.values())
    ]


@dataclass(frozen=True)
class Place:
    """Where a cell's rows are: a folder with a SQLite file, or a PostgreSQL database."""

    folder: Path
    database: str = ""
    owner_database: str = ""
    vfs: str | None = None
    synchronous: str = "FULL"

    @property
    def master_key(self) -> Path:
        """Return where the master key is, unless it is in the environment."""
        return self.folder / "master.key"

    @property
    def indexes(self) -> Path:
        """Return the folder of the indexes of search, of all processes that run here."""
        return Path(os.environ.get(SEARCH_ENV, "") or self.folder / SEARCH)

    async def sealer(self, storage: Storage) -> Sealer:
        """Return the sealer of this place's cell, whose schema is there. Raises MasterKeyInvalid
        for another key than that which sealed what is in it: only a new cell gets a new key."""
        given = os.environ.get(MASTER_KEY_ENV)
        known = await proof.find(storage)
        if known is not None and not given and not self.master_key.exists():
            raise MasterKeyInvalid(_not_here(known, f"{self.master_key} is not there"))
        sealer = load_sealer(self.master_key, given)
        if known is None:
            known = await proof.keep(storage, sealer)
        if not proof.opens(sealer, known):
            where = MASTER_KEY_ENV if given else str(self.master_key)
            raise MasterKeyInvalid(_not_here(known, f"{where} has another one"))
        return sealer

    def storage(self) -> Storage:
        """Return the storage of this place, not yet opened."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # customers' rows lie there
        if self.database:
            from hansa.kernel.postgres import PostgresStorage

            return PostgresStorage(self.database, owner_dsn=self.owner_database)
        return SqliteStorage(
            self.folder / "hansa.db",
            vfs=self.vfs,
            synchronous=self.synchronous,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        )


def _not_here(known: bytes, why: str) -> str:
    return (
        f"What is sealed in this cell opens with the master key {key_name_of(known)} alone, and"
        f" {why}. Put your copy of the key there. If there is none any more, `hansa secrets"
        " abandon` goes on without what is sealed (docs/operations.md)."
    )


@dataclass
class Cell:
    """A running process: `open` it, use `runtime` and `app`, `close` it."""

    place: Place
    services: Sequence[Service] = field(default_factory=_all_services)
    as_if_remote: bool = False
    background: bool = True
    placement: "Placement | None" = None
    """Where the services are that do not run here; without it all do."""
    hosted: Sequence[str] = ()
    """The services that run here, as one entry of the placement has them."""
    process: str = ""
    """The name of that entry, where several serve the same."""
    testpay: bool = False
    """Whether the test provider takes the shop's payments; without it there is none."""
    observe: "Options | None" = None
    """What is recorded and kept of what happens here; without it nothing."""
    clock: Clock = field(default_factory=MachineClock)
    storage: Storage = field(init=False)
    runtime: Runtime = field(init=False)
    directory: Directory = field(init=False)
    app: HttpApp = field(init=False)
    provider: "Testpay | None" = field(default=None, init=False)
    poster: "Poster | None" = None
    """Who brings the webhooks; otherwise one is made that goes by `HANSA_OUTWARD_NETWORKS`."""
    observer: "Observer | None" = field(default=None, init=False)
    remote: "Remote | None" = field(default=None, init=False)
    seal: "Seal | None" = field(default=None, init=False)
    _followers: "list[Follower]" = field(default_factory=list, init=False)
    _indexes: "Indexes | None" = field(default=None, init=False)
    _moving: "MovingFace | None" = field(default=None, init=False)
    _lookout: "Lookout | None" = field(default=None, init=False)
    mounts: dict[str, AsgiApp] = field(init=False)
    """The applications beside the operations, by prefix."""
    pages: bool = False
    """Whether the engineers' pages are served beside the operations."""
    storefront: bool = False
    """Whether the shops of the sites are served beside the operations, where there is what they
    ask."""
    _pages: "Door | None" = field(default=None, init=False)
    mail_tls: ssl.SSLContext | None = None
    _pump: "asyncio.Task[None] | None" = field(default=None, init=False)

    async def open(self, *, migrate: bool = True, check: Check | None = None) -> list[Step]:
        """Connect, migrate if wanted, and start; return the revisions that were applied. `check`
        looks at the schema before anything else does, and raises what keeps it from a start."""
        self.storage = self.place.storage()
        await self.storage.open()
        done: list[Step] = []
        try:
            if migrate:
                done = await migrating.migrate(self.storage, self.services)
            if check is not None:
                await check(self.storage, self.services)
            sealer = await self.place.sealer(self.storage)
        except BaseException:
            await self.storage.close()
            raise
        hosted = self._join(sealer)
        alone = self.storage.dialect == "sqlite" and self.remote is None
        rows = self._rows(hosted)
        self.directory = Directory(rows, sealer, self.clock, alone=alone)
        if self.testpay:
            from hansa.business.commerce.testpay import Testpay

            self.provider = Testpay(str(self.place.folder / "testpay.db"))
        if self.observe is not None and self.observe.enabled:
            from hansa.kernel.observe.observer import Observer

            self.observer = Observer(self.observe, process=self._process_name())
            await self.observer.start()
        recorder = None if self.observer is None else self.observer.recorder
        self.runtime = Runtime(
            self.services,
            self.storage,
            self.directory,
            sealer,
            clock=self.clock,
            resources=self._resources(),
            as_if_remote=self.as_if_remote,
            remote=self.remote,
            hosted=hosted,
            recorder=recorder,
        )
        proxies = Proxies(parse_proxies(os.environ.get(PROXIES_ENV, "")))
        self.app = HttpApp(self.runtime, proxies=proxies, load=self.runtime.load, recorder=recorder)
        if self.observer is not None:
            self.app.metrics = self.observer.metrics
            self.observer.watch(self.runtime)
        if self.remote is not None and self.seal is not None:
            from hansa.kernel.moving.face import MovingFace
            from hansa.kernel.moving.lookout import Lookout
            from hansa.kernel.remote.clocks import Clocks
            from hansa.kernel.remote.face import Face
            from hansa.kernel.remote.following import followers
            from hansa.platform.sites.asking import AskedRows

            self._moving = MovingFace(self.runtime, dict.fromkeys(BYTES_TABLES, self._bytes()))
            self.app.inner = Face(self.runtime, self.seal, self._moving)
            self._lookout = Lookout(self.runtime)
            self._followers = followers(self.runtime, self.remote)
            self.runtime.clocks = Clocks(self.runtime, self.remote, self._followers)
            if isinstance(rows, AskedRows):
                rows.join = self.runtime.clocks.join
        if SEARCH in {one.name for one in self.services}:
            self._start_search(self.background and SEARCH in hosted)
        self.mounts = self._mounts(hosted)
        if self.storefront:
            self._open_shop()
        if self.pages:
            from hansa.console import MOUNT as PAGES  # who has no pages pays nothing for them
            from hansa.console import Door

            observed = None if self.observer is None else self.observer.options.file
            self._pages = Door(self.runtime, self.app, self.directory, observed)
            self.mounts[PAGES] = self._pages
            self.app.home = (
                f"Nothing is here. {self.app.home}The engineers' pages are on {PAGES}, and the API"
                " is described on /openapi.json."
            )
        await self.runtime.start(background=self.background)
        if self.background:
            for one in self._followers:
                await one.start()
            if self._lookout is not None:
                await self._lookout.start()
        if self.provider is not None and self.background:
            pump = self.provider.pump(self._deliver)
            self._pump = asyncio.create_task(pump, name="hansa-testpay")
        return done

    def _open_shop(self) -> None:
        """Serve the storefront, where its services are and nobody else has its path."""
        from hansa.storefront import MOUNT as STORE
        from hansa.storefront import NEEDS
        from hansa.storefront import Door as Store

        there = {one.name for one in self.services}
        if there >= NEEDS and STORE[1:] not in self.app.first_parts:
            self.mounts[STORE] = Store(self.runtime, self.app)
            self.app.home = f"The shop is on {STORE}. "

    def _join(self, sealer: Sealer) -> frozenset[str]:
        """Find the way to the other processes; return which services run here."""
        if self.placement is None:
            return frozenset(service.name for service in self.services)
        from hansa.kernel.remote.calls import Remote
        from hansa.kernel.remote.passport import Seal

        self.seal = Seal(lambda: sealer.derived("hansa/link"))
        own = self.placement.own(self.hosted, self.process)
        self.placement.check_platform(of_platform(self.services))
        self.remote = Remote(self.placement, own, self.seal, self.clock)
        return frozenset({*own.services, EVERYWHERE, interventions.name})

    def _process_name(self) -> str:
        """Return what tells this process from others in the same traces."""
        own = "hansa" if self.remote is None else self.remote.own.name
        return f"{own}-{os.getpid()}"

    def _bytes(self) -> str:
        """Return where the blobs of this cell are, to tell it from where those of others are."""
        folder = f"{socket.gethostname()}:{(self.place.folder / 'blobs').resolve()}"
        return os.environ.get(BLOBS_ENV, "") or folder

    def _rows(self, hosted: frozenset[str]) -> Rows:
        if sites.name in hosted or self.remote is None:
            return CellRows(self.storage)
        from hansa.platform.sites.asking import AskedRows

        return AskedRows(self.remote)

    def _resources(self) -> dict[type, Any]:
        """Return what the services' actions use of the world, for those that there are."""
        names = {one.name for one in self.services}
        found: dict[type, Any] = {}
        if SHOP in names:
            from hansa.business.commerce.payments import Payments

            found[Payments] = Payments(self.provider)
        if "webhooks" in names:
            from hansa.platform.webhooks.api import Poster, parse_networks

            self.poster = self.poster or Poster(parse_networks(os.environ.get(OUTWARD_ENV, "")))
            found[Poster] = self.poster
        if "mail" in names:
            from hansa.platform.mail.api import Mailer

            found[Mailer] = self._mailer()
        if "blobs" in names:
            from hansa.platform.blobs.api import Bytes, parse_store

            found[Bytes] = Bytes(parse_store(os.environ.get(BLOBS_ENV, ""), self.place.folder))
        return found

    def _start_search(self, is_hosted: bool) -> None:
        """Have keys known that search has signed, and where it is hosted the indexes of this
        process follow the log. Raises OSError."""
        from hansa.platform.search.api import bearer_of
        from hansa.platform.search.scoped import PREFIX

        self.directory.bearers[PREFIX] = bearer_of(self.runtime, self.directory)
        if not is_hosted:
            return
        from hansa.platform.search.indexes import Indexes

        self._indexes = Indexes(self.place.indexes)
        self._indexes.start(self.runtime)
        self.runtime.resources[Indexes] = self._indexes

    def _mounts(self, hosted: frozenset[str]) -> dict[str, AsgiApp]:
        is_served = self.remote is not None and self.remote.placement.of("blobs") is not None
        if "blobs" not in hosted and not is_served:
            return {}
        from hansa.platform.blobs.api import BYTES_MAX, MOUNT, Bytes

        here: AsgiApp | None = None
        if "blobs" in hosted:
            from hansa.platform.blobs.serving import BlobServer

            store: Bytes = self.runtime.resources[Bytes]
            here = BlobServer(self.runtime, store.store)
        if self.remote is None or not is_served:
            return {} if here is None else {MOUNT: here}
        from hansa.kernel.remote.passing import Passing

        return {MOUNT: Passing(self.remote, "blobs", self._cell_of_file, BYTES_MAX, here)}

    async def _cell_of_file(self, scope: Message) -> str:
        """Return in which cell the site of a request for a file is. Raises Problem."""
        from hansa.platform.blobs.serving import site_of_request

        site = await self.directory.by_id(await site_of_request(self.runtime, scope))
        return "" if site is None else site.cell

    def _mailer(self) -> "Mailer":
        from hansa.platform.mail.api import SMTP, Mailer, parse_server

        async def server_of(site: str) -> "Smtp | None":
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

    @property
    def followed(self) -> list[str]:
        """The types of events that are copied from the logs of other cells."""
        return [name for one in self._followers for name in one.types]

    async def close(self) -> None:
        """Stop and disconnect, in good order."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        for one in self._followers:
            await one.stop()
        if self._lookout is not None:
            await self._lookout.stop()
        if self._moving is not None:
            await self._moving.stop()
        if self._indexes is not None:
            await self._indexes.stop()
        await self.runtime.stop()
        if self.remote is not None:
            self.remote.close()
        await self.storage.close()
        if self._pages is not None:
            self._pages.close()
        if self.observer is not None:
            await self.observer.stop()
