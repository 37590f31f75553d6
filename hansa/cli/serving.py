"""Serve: a cell behind HTTP until it is told to stop."""

import argparse
import asyncio
import logging
import os
import select
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import uvloop

from hansa import project
from hansa.assembly import OPERATOR, SHOP, Cell, Place
from hansa.cli.drift import check_declared
from hansa.kernel import migrating
from hansa.kernel.http.server import AddressTaken, check_address, serve
from hansa.kernel.migrating import MigrationFailed, MigrationRefused
from hansa.kernel.observe.logs import JsonHandler, TextHandler
from hansa.kernel.observe.options import OptionInvalid, read_log_format, read_options
from hansa.kernel.operation import DENIED
from hansa.kernel.problems import Problem, StorageFailed
from hansa.kernel.remote.placement import Placement, PlacementInvalid, read_placement
from hansa.kernel.revisions import RevisionsInvalid
from hansa.kernel.sealing import MasterKeyInvalid
from hansa.kernel.service import Service
from hansa.kernel.storage import Storage
from hansa.kernel.structs import PageRequest
from hansa.platform.sites import sites
from hansa.platform.sites.api import list_hosts, list_sites

logger = logging.getLogger("hansa")

SITES_SHOWN: Final = 5
Ready = Callable[[Cell], Awaitable[None]]


class NoCell(OSError):
    """There is nothing where a cell should be."""


class NotAsked(OSError):
    """What must be confirmed was asked for where nobody answers."""


def run(options: argparse.Namespace) -> int:
    """Serve what is there; the schema must be up to date."""

    async def announce(cell: Cell) -> None:
        print(f"Hansa serves on http://{options.host}:{options.port}")
        for line in await _ways(cell, options.port):
            print(f"  {line}")
        sys.stdout.flush()

    return serve_cell(options, announce, migrate=False)


async def _ways(cell: Cell, port: int) -> list[str]:
    """Return how the first sites are asked: a request says its site by host, header or key."""
    if not cell.runtime.serves(sites.name):
        return []
    page = PageRequest(SITES_SHOWN)
    found = (await cell.runtime.do(list_sites, OPERATOR, {"page": page})).items
    lines = []
    for site in found:
        asked = {"site": site.id, "page": PageRequest(1)}
        hosts = (await cell.runtime.do(list_hosts, OPERATOR, asked)).items
        way = (
            f"http://{hosts[0].host}:{port}" if hosts else f"with the header Hansa-Site: {site.id}"
        )
        lines.append(f"{site.name}: {way}")
    if lines:
        return lines
    first = "" if cell.place.database else "Stop this server, since one process owns the cell. "
    folder = cell.place.folder
    return [
        f"There is no site yet. {first}Then this makes one:",
        f"  hansa sites --folder {folder} create NAME --host HOST",
        "and this the key with which more is done while it serves, with --url and --key:",
        f"  hansa sites --folder {folder} key platform '*'",
    ]


def serve_cell(options: argparse.Namespace, ready: Ready, *, migrate: bool) -> int:
    """Open a cell, serve it until SIGTERM or SIGINT, drain, and close it."""

    def work() -> int:
        handler = JsonHandler() if read_log_format(os.environ) == "json" else TextHandler()
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        logging.getLogger("alembic").setLevel(logging.WARNING)
        check_address(options.host, options.port)
        uvloop.run(_serve(_cell(options), options, ready, migrate))
        return 0

    return telling(work)


def telling(work: Callable[[], int]) -> int:
    """Do what starts a server, and tell in words why it cannot be started."""
    try:
        return work()
    except AddressTaken as taken:
        return failed(f"{taken} Choose another with --port.")
    except (
        Problem,
        MigrationRefused,
        MigrationFailed,
        RevisionsInvalid,
        MasterKeyInvalid,
        PlacementInvalid,
        OptionInvalid,
        OSError,
    ) as error:
        return failed(told(error))


def _cell(options: argparse.Namespace) -> Cell:
    """Return the cell of a command line. Raises PlacementInvalid, OptionInvalid and OSError."""
    from hansa.cli.main import place_of

    place = place_of(options)
    services = project.services()
    testpay = options.testpay and any(one.name == SHOP for one in services)
    observe = read_options(os.environ, place.folder, developing=options.command == "up")
    if not options.placement:
        if options.services:
            raise PlacementInvalid("--services needs a --placement that says where the others are")
        return Cell(
            place,
            services,
            testpay=testpay,
            observe=observe,
            pages=options.pages,
            storefront=options.storefront,
        )
    placement = placement_in(options.placement)
    process = getattr(options, "process", "")
    hosted = tuple(options.services.split(","))
    own = placement.own(hosted, process)
    return Cell(
        place,
        services,
        placement=placement,
        hosted=own.services,
        process=own.name,
        testpay=testpay,
        observe=observe,
        pages=options.pages,
        storefront=options.storefront,
    )


def placement_in(file: str) -> Placement:
    """Return the placement in a file. Raises PlacementInvalid."""
    try:
        text = Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise PlacementInvalid(f"The placement {file} cannot be read: {why}.") from None
    try:
        return read_placement(text)
    except PlacementInvalid as invalid:
        raise PlacementInvalid(f"{file}: {invalid}") from None


def told(error: Exception) -> str:
    """Return what an error has to tell a person at the command line. Raises BrokenPipeError when
    who read the output has gone: that is no failure (see `main`)."""
    if isinstance(error, BrokenPipeError):
        out = select.poll()
        out.register(sys.stdout, select.POLLOUT)
        if any(what & select.POLLERR for _, what in out.poll(0)):
            raise error
    if isinstance(error, Problem) and not isinstance(error, StorageFailed):
        text = f"{error.title}: {error.detail}" if error.detail else error.title
        return " ".join([text, *(f"{fault.pointer}: {fault.detail}." for fault in error.errors)])
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{os.fspath(error.filename)}: {error.strerror}."
    return str(error) or repr(error)


def failed(message: str) -> int:
    """Tell what went wrong, and return the exit status for it."""
    print(f"hansa: {message}", file=sys.stderr)
    return 1


async def sure_of(question: str, answer: str) -> bool:
    """Ask at the terminal, and tell whether the answer is the one. Raises NotAsked."""
    try:
        return (await asyncio.to_thread(input, question)).strip() == answer
    except EOFError:
        raise NotAsked("There is nobody to ask: say --yes if it is to be so.") from None


async def _serve(cell: Cell, options: argparse.Namespace, ready: Ready, migrate: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.set)
    if getattr(options, "while_stdin", False):
        loop.add_reader(sys.stdin.fileno(), _read_on, loop, stop)
    if not migrate:
        check_exists(cell.place)
    await cell.open(migrate=migrate, check=check_declared if migrate else _check_schema)
    try:
        _tell_denied(cell)
        cell.app.preparing = True
        started = asyncio.Event()
        serving = asyncio.create_task(
            serve(
                cell.app,
                options.host,
                options.port,
                mounts=cell.mounts,
                on_started=started.set,
                stop=stop,
                linger_s=getattr(options, "linger", 0),
            )
        )
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        if started.is_set():
            await ready(cell)
            cell.app.preparing = False
        await serving
    finally:
        cell.runtime.drain()
        await cell.close()


def _tell_denied(cell: Cell) -> None:
    """Tell which handlers nobody may call: they have a path, and no route."""
    for service in cell.services:
        for one in service.operations.values():
            if one.path and one.needs is DENIED:
                logger.warning("%s says no needs=, so it is not served: nobody may call it", one.id)


def _read_on(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stop where standard input has ended: who started this is no more."""
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        stop.set()


def check_exists(place: Place) -> None:
    """Raise NoCell where there is none: it is made by who says so, not by who looks at it."""
    if not place.database and not (place.folder / "hansa.db").exists():
        raise NoCell(
            f"There is no cell in {place.folder}: `hansa up` makes a demo shop there,"
            " `hansa migrate` an empty one."
        )


async def check_migrated(storage: Storage, services: Sequence[Service]) -> None:
    """Refuse to serve a cell whose schema is not that of this code. Raises MigrationRefused."""
    pending = await migrating.plan(storage, services, until="expand")
    if pending:
        raise MigrationRefused(
            f"The schema lacks {len(pending)} revisions that this version needs: run"
            " `hansa migrate` first."
        )


async def _check_schema(storage: Storage, services: Sequence[Service]) -> None:
    await check_migrated(storage, services)
    await check_declared(storage, services)
