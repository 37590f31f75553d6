"""Up: serve with nothing set up. The first run makes a demo site and its keys, and where the
project has the shop, its catalogue."""

import argparse
import os
import secrets
import signal
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Final

import hansa
from hansa import project
from hansa.assembly import OPERATOR, SHOP, Cell
from hansa.console import MOUNT as PAGES
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.ids import ID
from hansa.kernel.storage import PLATFORM
from hansa.platform.sites.api import NewKey, NewSite, create_key, create_site
from hansa.platform.sites.keys import is_secret_of, parse_key
from hansa.platform.sites.rows import CellRows
from hansa.storefront import MOUNT as STOREFRONT

HOST: Final = "demo.localhost"
HOSTS: Final = (HOST, "localhost")


def run(options: argparse.Namespace) -> int:
    """Serve with a demo shop; with --reload start again whenever a file of the code is saved."""
    from hansa.cli.serving import serve_cell, telling

    if options.reload:
        return _reloading()

    async def ready(cell: Cell) -> None:
        key = await demo_key(cell, Path(options.folder))
        welcome = _welcome if _sells(cell) else _short_welcome
        for line in welcome(options, key):
            print(line)
        sys.stdout.flush()

    if not options.split:
        return serve_cell(options, ready, migrate=True)
    from hansa.cli import split

    def work() -> int:
        with split.running(options):
            return serve_cell(options, ready, migrate=True)

    return telling(work)


async def demo_key(cell: Cell, folder: Path) -> str:
    """Return the key of the demo site; the first time make the site and everything in it."""
    file = folder / "demo.key"
    kept, operators = _kept(file), _kept(folder / "operator.key")
    is_known = await _is_known(cell, kept)
    if not is_known or (operators and not await _is_known(cell, operators)):
        _write(folder / "operator.key", await _new_key(cell, PLATFORM, "operator"))
    if is_known:
        return kept
    site = await CellRows(cell.storage).host(HOST)
    is_new = site is None
    if site is None:
        name = "Demo shop" if _sells(cell) else "Demo site"
        form = {"body": NewSite(name, hosts=HOSTS)}
        site = (await cell.runtime.do(create_site, OPERATOR, form)).id
    if _sells(cell) and (is_new or not kept):  # without a key the first run did not come so far
        await _fill(cell, site)
    key = await _new_key(cell, site, "demo")  # there it may all, elsewhere nothing
    _write(file, key)
    return key


async def _new_key(cell: Cell, site: ID, name: str) -> str:
    """Return a key that may all at a site; the same again while its making is remembered."""
    sealed = cell.runtime.sealer.head.hex()  # what a lost master key sealed is not waited for
    form = {"site": site, "body": NewKey(name, ("*",))}
    made = await cell.runtime.do(create_key, OPERATOR, form, key=f"up:{name}:{site}:{sealed}")
    return str(made.key)


def _kept(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


async def _is_known(cell: Cell, key: str) -> bool:
    """Tell whether a key is one of this cell, revoked or not: its database may be another one."""
    parsed = parse_key(key)
    row = None if parsed is None else await CellRows(cell.storage).key(parsed[0])
    return row is not None and parsed is not None and is_secret_of(parsed[1], row.hash)


def _sells(cell: Cell) -> bool:
    return any(one.name == SHOP for one in cell.services)


async def _fill(cell: Cell, site: ID) -> None:
    from hansa.business.commerce.api import ImportBatch, import_products
    from hansa.business.commerce.catalogue import NewProduct
    from hansa.business.commerce.importing import LineFault, parse

    source = resources.files("hansa.business.commerce") / "demo.ndjson"
    products: list[NewProduct] = []
    for number, line in enumerate(source.read_bytes().splitlines(), start=1):
        product = parse(number, line, "EUR", 25)
        if isinstance(product, LineFault):
            raise ValueError(f"demo.ndjson line {product.line}: {product.detail}")
        products.append(product)
    batch = ImportBatch("demo", 1, len(products) + 1, tuple(products))
    await cell.runtime.do(import_products, Caller(site, SYSTEM), {"body": batch}, key="up:fill")
    await cell.runtime.dispatcher.rest()  # so that whoever comes first finds all of it


def _write(file: Path, text: str) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(text + "\n")


def _welcome(options: argparse.Namespace, key: str) -> list[str]:
    root = _root(options)
    shop = f"{root}/commerce"
    new = secrets.token_hex(3)  # a key, a handle and a sku that are new each time
    product = (
        f'{{"handle": "my-mug-{new}", "title": "My mug", "variants": [{{"sku": "MUG-{new}",'
        ' "price": {"minor": 1500, "currency": "EUR"}, "stock": 10}]}'
    )
    return [
        "",
        f"  Hansa serves a demo shop on {root}{STOREFRONT}",
        f"  Its products by the API on  {shop}/products",
        f"  The API is described on     {root}/openapi.json",
        f"  What happens here is on     {root}{PAGES}/ (its key: {options.folder}/operator.key)",
        f"  The shop's key, in {options.folder}/demo.key: {key}",
        "",
        "  Try:",
        f"    curl '{shop}/products?limit=3'",
        f"    curl {shop}/products -H 'Authorization: Bearer {key}' "
        f"-H 'Idempotency-Key: {new}' -H 'Content-Type: application/json' -d '{product}'",
        f"    {_program()} log events --type commerce.product_created{_where(options)}",
        "",
        f"  Ctrl-C stops it; what is in {options.folder} stays.",
    ]


def _short_welcome(options: argparse.Namespace, key: str) -> list[str]:
    return [
        "",
        f"  Hansa serves the project's services on {_root(options)}",
        f"  The API is described on {_root(options)}/openapi.json",
        f"  What happens here is on {_root(options)}{PAGES}/"
        f" (its key: {options.folder}/operator.key)",
        f"  The key of the demo site, in {options.folder}/demo.key: {key}",
        "",
        f"  Ctrl-C stops it; what is in {options.folder} stays.",
    ]


def _root(options: argparse.Namespace) -> str:
    local = options.host in ("127.0.0.1", "0.0.0.0", "::1", "::")
    return f"http://{'localhost' if local else options.host}:{options.port}"


def _program() -> str:
    """Return how this program was started, to be typed again."""
    started = sys.argv[0]
    return f"{sys.executable} -m hansa.cli" if started.endswith(".py") else started


def _where(options: argparse.Namespace) -> str:
    """Return how to say where the shop's log is."""
    folder = str(Path(options.folder).parent / SHOP) if options.split else options.folder
    return "" if folder == ".hansa" else f" --folder {folder}"


def _watched() -> list[Path]:
    """Return the folders whose files are the code: Hansa's, and those of the project's services."""
    here = project.current()
    found = {Path(hansa.__file__).parent}
    for module in here.modules or ():
        top = module.split(".")[0]
        found |= {at for at in (here.folder / top, here.folder / "src" / top) if at.is_dir()}
        found |= {at for at in (here.folder / f"{top}.py",) if at.is_file()}
    return sorted(found)


def _reloading() -> int:
    """Run the same command in a child, and again after each change of a file."""
    import watchfiles

    arguments = [one for one in sys.argv[1:] if one != "--reload"]
    command = [sys.executable, "-m", "hansa.cli", *arguments]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the child is stopped with it
    child = subprocess.Popen(command)
    try:
        for _ in watchfiles.watch(*_watched(), watch_filter=watchfiles.PythonFilter()):
            print("a file was saved; starting again", flush=True)
            child.terminate()
            child.wait()
            child = subprocess.Popen(command)
    except KeyboardInterrupt:
        pass
    finally:
        child.terminate()
        child.wait()
    return 0
