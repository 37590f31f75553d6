"""Import: a file of products into a site, batch by batch, from where it was left."""

import argparse
import gzip
import hashlib
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Final

import msgspec
import uvloop

from hansa.assembly import Cell
from hansa.business.commerce.api import Import, ImportBatch, get_import, import_products
from hansa.business.commerce.catalogue import NewProduct
from hansa.business.commerce.importing import BATCH_MAX, LINE_BYTES_MAX, LineFault, parse
from hansa.cli.remote import Server
from hansa.cli.serving import check_exists, failed, told
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.migrating import MigrationFailed, MigrationRefused
from hansa.kernel.problems import Problem
from hansa.kernel.sealing import MasterKeyInvalid
from hansa.project import services

SEND_BYTES_MAX: Final = 4 << 20
BAR: Final = 30

Send = Callable[[ImportBatch], Awaitable[Import]]


@dataclass(frozen=True, slots=True)
class Piece:
    """The lines from `first` to before `end`: the products on them with their numbers."""

    first: int
    end: int
    products: tuple[tuple[int, NewProduct], ...]

    def batch(self, source: str) -> ImportBatch:
        """Return it as it is sent."""
        products = tuple(product for _, product in self.products)
        return ImportBatch(source, self.first, self.end, products)

    def halves(self) -> "tuple[Piece, Piece]":
        """Return it in two pieces, of which each has products; it has two or more."""
        middle = len(self.products) // 2
        at = self.products[middle][0]
        return (
            Piece(self.first, at, self.products[:middle]),
            Piece(at, self.end, self.products[middle:]),
        )


def run(options: argparse.Namespace) -> int:
    """Import a file. A killed import goes on where it was when it is started again."""
    file = Path(options.file)
    if not file.is_file():
        return failed(f"there is no file {file}")
    try:
        return uvloop.run(_run(options, file))
    except (Problem, HTTPException, MigrationRefused, MigrationFailed, MasterKeyInvalid) as error:
        return failed(told(error))
    except (OSError, EOFError, zlib.error) as error:
        return failed(f"{file}: {told(error)}")


async def _run(options: argparse.Namespace, file: Path) -> int:
    if options.url:
        async with Server(options.url, options.key or "", options.site) as server:
            return await _import(options, file, server.import_position, server.send, "EUR")
    from hansa.cli.main import place_of
    from hansa.cli.sites import one_site

    place = place_of(options)
    check_exists(place)
    cell = Cell(place, services())
    await cell.open()
    try:
        site = await one_site(cell, options.site)
        caller = Caller(site.id, SYSTEM)

        async def position(source: str) -> Import:
            return await cell.runtime.do(get_import, caller, {"source": source})

        async def send(batch: ImportBatch) -> Import:
            return await cell.runtime.do(import_products, caller, {"body": batch})

        done = await _import(options, file, position, send, site.currency)
        await cell.runtime.dispatcher.rest()
        return done
    finally:
        await cell.close()


async def _import(
    options: argparse.Namespace,
    file: Path,
    position: Callable[[str], Awaitable[Import]],
    send: Send,
    currency: str,
) -> int:
    source, size = _digest(file), _size(file)
    begun = await position(source)
    if begun.next_line > 1:
        print(f"going on at line {begun.next_line}: {begun.products} products are here already")
    faults: list[LineFault] = []
    started = time.monotonic()
    made = begun
    with file.open("rb") as raw:
        for piece, found in _pieces(raw, file, begun.next_line, currency, options.stock):
            faults += found
            made, refused = await _sent(piece, source, send)
            faults += refused
            _bar(raw.tell(), size, made.products)
    seconds = time.monotonic() - started
    print(f"\n{made.products} products, {len(faults)} faulty lines, {seconds:.1f} s")
    for fault in faults[:5]:
        print(f"  line {fault.line}: {fault.detail[:200]}", file=sys.stderr)
    if options.faults:
        _write_faults(options.faults, faults)
    return 1 if faults else 0


async def _sent(piece: Piece, source: str, send: Send) -> tuple[Import, list[LineFault]]:
    """Send a piece; of one that the shop refuses, find the lines it refuses and leave them out."""
    try:
        return await send(piece.batch(source)), []
    except Problem as problem:
        if problem.status not in (409, 422) or problem.slug == "import-elsewhere":
            raise
        if len(piece.products) == 1:
            fault = LineFault(piece.products[0][0], told(problem))
            return await send(Piece(piece.first, piece.end, ()).batch(source)), [fault]
    left, right = piece.halves()
    _, faults = await _sent(left, source, send)
    made, more = await _sent(right, source, send)
    return made, faults + more


def _write_faults(file: str, faults: list[LineFault]) -> None:
    lines = (msgspec.json.encode(fault) for fault in faults)
    Path(file).write_bytes(b"\n".join(lines) + b"\n")


def _pieces(
    raw: IO[bytes], file: Path, first_line: int, currency: str, stock: int
) -> Iterator[tuple[Piece, list[LineFault]]]:
    """Yield the lines from `first_line` on in pieces, bounded in number and in bytes."""
    products: list[tuple[int, NewProduct]] = []
    faults: list[LineFault] = []
    start, size, number = first_line, 0, 0
    for number, line in enumerate(_lines(raw, file), start=1):
        if number < first_line:
            continue
        if line.strip():
            product = parse(number, line, currency, stock)
            if isinstance(product, LineFault):
                faults.append(product)
            else:
                products.append((number, product))
                size += len(line)
        if len(products) == BATCH_MAX or size > SEND_BYTES_MAX:
            yield Piece(start, number + 1, tuple(products)), faults
            products, faults, start, size = [], [], number + 1, 0
    if number >= start:
        yield Piece(start, number + 1, tuple(products)), faults


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
