"""Import: a file of products into a site, batch by batch, from where it was left."""

import argparse
import gzip
import hashlib
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final

import msgspec
import uvloop

from hansa.assembly import Cell
from hansa.business.commerce.api import Import, ImportBatch, get_import, import_products
from hansa.business.commerce.catalogue import NewProduct
from hansa.business.commerce.importing import BATCH_MAX, LINE_BYTES_MAX, LineFault, parse
from hansa.cli.cells import Local, aim, one_site
from hansa.cli.refused import RefusedLines, given
from hansa.cli.remote import IN_USE, Server, ServerUnusable
from hansa.cli.serving import check_exists, failed, told
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.migrating import MigrationFailed, MigrationRefused
from hansa.kernel.problems import Problem
from hansa.kernel.sealing import MasterKeyInvalid
from hansa.kernel.sqlite.connection import InUse
from hansa.project import services

SEND_BYTES_MAX: Final = 4 << 20
BAR: Final = 30

Position = Callable[[str], Awaitable[Import]]
Send = Callable[[ImportBatch], Awaitable[Import]]


@dataclass(frozen=True, slots=True)
class Piece:
    """The lines from `first` to before `end`: the products on them with their numbers."""

    first: int
    end: int
    products: tuple[tuple[int, NewProduct], ...]
    lines: dict[int, bytes]
    """The lines of the products, as they were given."""
    again: bool = False

    def batch(self, source: str) -> ImportBatch:
        """Return it as it is sent."""
        products = tuple(product for _, product in self.products)
        return ImportBatch(source, self.first, self.end, products, self.again)

    def empty(self) -> "Piece":
        """Return it without its products, so that the import goes on behind it."""
        return replace(self, products=())

    def halves(self) -> "tuple[Piece, Piece]":
        """Return it in two pieces, of which each has products; it has two or more."""
        middle = len(self.products) // 2
        at = self.products[middle][0]
        return (
            replace(self, end=at, products=self.products[:middle]),
            replace(self, first=at, products=self.products[middle:]),
        )


def run(options: argparse.Namespace) -> int:
    """Import a file. A killed import goes on where it was when it is started again."""
    file = Path(options.file)
    if not file.is_file():
        return failed(f"there is no file {file}")
    try:
        return uvloop.run(_run(options, file))
    except InUse as taken:
        return failed(f"{taken} {IN_USE}")
    except (Problem, ServerUnusable, MigrationRefused, MigrationFailed, MasterKeyInvalid) as error:
        return failed(told(error))
    except msgspec.MsgspecError as error:
        return failed(f"{options.faults} is no file of refused lines: {error}. Name another one.")
    except (EOFError, zlib.error) as error:
        return failed(f"{file}: {told(error)}")
    except OSError as error:
        return failed(told(error) if error.filename else f"{file}: {told(error)}")


async def _run(options: argparse.Namespace, file: Path) -> int:
    if options.url:
        async with Server(options.url, options.key or "") as server:
            await aim(server, options.site)
            return await _import(options, file, *_through(server))
    from hansa.cli.main import place_of

    place = place_of(options)
    check_exists(place)
    cell = Cell(place, services())
    await cell.open()
    try:
        site = await one_site(Local(cell), options.site)
        caller = Caller(site.id, SYSTEM)

        async def position(source: str) -> Import:
            return await cell.runtime.do(get_import, caller, {"source": source})

        async def send(batch: ImportBatch) -> Import:
            return await cell.runtime.do(import_products, caller, {"body": batch})

        done = await _import(options, file, position, send)
        await cell.runtime.dispatcher.rest()
        return done
    finally:
        await cell.close()


def _through(server: Server) -> tuple[Position, Send]:
    """Return how a server is asked how far an import is, and given a batch of it."""

    async def position(source: str) -> Import:
        return await server.ask(get_import, {"source": source})

    async def send(batch: ImportBatch) -> Import:
        key = f"{batch.source}:{batch.first_line}-{batch.next_line}:{len(batch.products)}"
        if batch.again:  # what was refused may be taken the next time: each try is one of its own
            key = ""
        return await server.ask(import_products, {"body": batch}, key)

    return position, send


async def _import(
    options: argparse.Namespace,
    file: Path,
    position: Position,
    send: Send,
) -> int:
    source, size = _digest(file), _size(file)
    made = begun = await position(source)
    again = options.again and begun.next_line > 1
    refused = RefusedLines(options.faults, 1 if again else begun.next_line)
    reading = Reading(file, made.currency, options.stock)
    started = time.monotonic()
    try:
        if begun.next_line > 1:
            print(f"going on at line {begun.next_line}: {begun.products} products are here already")
        with file.open("rb") as raw:
            for piece, faults in reading.pieces(raw, begun.next_line, again=again):
                for fault, line in faults:
                    refused.add(fault, line)
                made = await _sent(piece, source, send, refused)
                _bar(raw.tell(), size, made.products)
    finally:
        refused.close()
    seconds = time.monotonic() - started
    print(f"\n{made.products} products, {refused.count} faulty lines, {seconds:.1f} s")
    for fault in sorted(refused.first, key=lambda one: one.line):
        print(f"  line {fault.line}: {fault.detail}", file=sys.stderr)
    before = 0 if again else reading.passed - begun.products
    if before > 0:
        print(
            f"{before} lines before line {begun.next_line} were refused the last time, and are not"
            " here; --again takes them once more.",
            file=sys.stderr,
        )
    return 1 if refused.count or before > 0 else 0


async def _sent(piece: Piece, source: str, send: Send, refused: RefusedLines) -> Import:
    """Send a piece; of one that the shop refuses, find the lines it refuses and leave them out."""
    try:
        return await send(piece.batch(source))
    except Problem as problem:
        if problem.status not in (409, 422) or problem.slug == "import-elsewhere":
            raise
        if len(piece.products) == 1:
            line = piece.products[0][0]
            refused.add(LineFault(line, told(problem)), piece.lines[line])
            return await send(piece.empty().batch(source))
    left, right = piece.halves()
    await _sent(left, source, send, refused)
    return await _sent(right, source, send, refused)


class Reading:
    """The lines of a file in pieces, bounded in number and in bytes."""

    def __init__(self, file: Path, currency: str, stock: int) -> None:
        self._file = file
        self._currency = currency
        self._stock = stock
        self.passed = 0
        """How many lines before the first one had something on them."""

    def pieces(
        self, raw: IO[bytes], first_line: int, *, again: bool
    ) -> Iterator[tuple[Piece, list[tuple[LineFault, bytes]]]]:
        """Yield the lines from `first_line` on, each piece with its lines that are no products;
        `again` yields those before as well, in pieces of their own."""
        products: list[tuple[int, NewProduct]] = []
        faults: list[tuple[LineFault, bytes]] = []
        lines: dict[int, bytes] = {}
        start, size, number = 1 if again else first_line, 0, 0
        for number, line in enumerate(_lines(raw, self._file), start=1):
            if number < start:
                self.passed += bool(line.strip())
                continue
            if line.strip():
                product = parse(number, given(line), self._currency, self._stock)
                if isinstance(product, LineFault):
                    faults.append((product, line))
                else:
                    products.append((number, product))
                    lines[number] = line
                size += len(line)
            full = len(products) == BATCH_MAX or size > SEND_BYTES_MAX
            if full or (again and number == first_line - 1):
                yield Piece(start, number + 1, tuple(products), lines, again), faults
                products, faults, lines, start, size = [], [], {}, number + 1, 0
                again = again and start < first_line
        if number >= start:
            yield Piece(start, number + 1, tuple(products), lines, again), faults


def _lines(raw: IO[bytes], file: Path) -> Iterator[bytes]:
    stream: IO[bytes] = raw
    if file.suffix == ".gz":
        stream = gzip.GzipFile(fileobj=raw)  # type: ignore[assignment]
    while line := stream.readline(LINE_BYTES_MAX + 2):
        while len(line) == LINE_BYTES_MAX + 2 and not line.endswith(b"\n"):
            rest = stream.readline(LINE_BYTES_MAX + 2)
            if not rest or rest.endswith(b"\n"):
                break
        yield line


def _size(file: Path) -> int:
    return file.stat().st_size


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()[:32]


def _bar(at: int, size: int, products: int) -> None:
    if not sys.stdout.isatty():
        return
    filled = BAR * min(at, size) // max(size, 1)
    print(f"\r[{'#' * filled}{'.' * (BAR - filled)}] {products} products", end="", flush=True)
