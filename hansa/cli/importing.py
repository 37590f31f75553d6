"""Import: a file of products into a site, batch by batch, from where it was left."""

import argparse
import gzip
import hashlib
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
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
from hansa.cli.serving import failed, told
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.migrating import MigrationFailed, MigrationRefused
from hansa.kernel.problems import Problem
from hansa.kernel.sealing import MasterKeyInvalid

SEND_BYTES_MAX: Final = 4 << 20
BAR: Final = 30

Send = Callable[[ImportBatch], Awaitable[Import]]


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

    cell = Cell(place_of(options))
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
        for batch, found in _batches(raw, file, source, begun.next_line, currency, options.stock):
            faults += found
            made = await send(batch)
            _bar(raw.tell(), size, made.products)
    seconds = time.monotonic() - started
    print(f"\n{made.products} products, {len(faults)} faulty lines, {seconds:.1f} s")
    for fault in faults[:5]:
        print(f"  line {fault.line}: {fault.detail[:200]}", file=sys.stderr)
    if options.faults:
        _write_faults(options.faults, faults)
    return 1 if faults else 0


def _write_faults(file: str, faults: list[LineFault]) -> None:
    lines = (msgspec.json.encode(fault) for fault in faults)
    Path(file).write_bytes(b"\n".join(lines) + b"\n")


def _batches(
    raw: IO[bytes], file: Path, source: str, first_line: int, currency: str, stock: int
) -> Iterator[tuple[ImportBatch, list[LineFault]]]:
    """Yield batches of the lines from `first_line` on, bounded in number and in bytes."""
    products: list[NewProduct] = []
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
                products.append(product)
                size += len(line)
        if len(products) == BATCH_MAX or size > SEND_BYTES_MAX:
            yield ImportBatch(source, start, number + 1, tuple(products)), faults
            products, faults, start, size = [], [], number + 1, 0
    if number >= start:
        yield ImportBatch(source, start, number + 1, tuple(products)), faults


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
