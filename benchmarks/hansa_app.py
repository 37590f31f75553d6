"""Hansa as a target: the shelf with sites and the kernel, served as `hansa serve` serves.

python -m benchmarks.hansa_app sqlite|postgresql <file or DSN> <seed.json> <port>
"""

import asyncio
import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.shelf import shelf
from benchmarks.shelf import tables as shelf_tables
from benchmarks.shelf.api import get_product, take_unit
from benchmarks.workload import Seed, read_seed
from hansa.assembly import OPERATOR, Cell, Place
from hansa.kernel import codec
from hansa.kernel.attempts import attempts
from hansa.kernel.context import Context
from hansa.kernel.http.server import serve
from hansa.kernel.rate import Rate
from hansa.kernel.service import Service
from hansa.kernel.site import EPOCH_FIRST, slot_of
from hansa.kernel.site_limits import SiteLimits
from hansa.kernel.storage import PLATFORM
from hansa.kernel.structs import Money, Page, PageRequest
from hansa.platform.sites import sites
from hansa.platform.sites import tables as sites_tables
from hansa.platform.sites.api import NewValue, Site, list_sites, set_setting
from hansa.platform.sites.limits import LIMITS

SERVICES: Final[tuple[Service, ...]] = (attempts, sites, shelf)
PERMISSIONS: Final = (str(get_product.needs), str(take_unit.needs))
"""What a site's key may do: the two permissions of the shelf."""
UNLIMITED: Final = SiteLimits(Rate(1e6, 10_000_000), Rate(1e6, 10_000_000))
"""What a site may take where the race is on: quotas are counted, and never used up."""


async def limit(cell: Cell, site: str, limits: SiteLimits) -> None:
    """Set what a site may take."""
    body = NewValue(codec.convert_out(limits))
    new = {"site": site, "name": LIMITS.name, "body": body}
    await cell.runtime.do(set_setting, OPERATOR, new)


def place(engine: str, where: str, owner: str) -> Place:
    """Return where the cell's rows are."""
    if engine == "sqlite":
        folder = Path(where).with_suffix("")
        return Place(folder)
    folder = Path(os.environ.get("HANSA_BENCH_FOLDER", "."))
    return Place(folder, where, owner)


async def fill(cell: Cell, seed: Seed) -> None:
    """Write the seed into a cell that has no sites yet, as the services' own rows."""
    # Not by asking for the site: that there is none would be remembered for a while.
    found: Page[Site] = await cell.runtime.do(list_sites, OPERATOR, {"page": PageRequest(limit=1)})
    if found.items:
        return

    async def write_sites(ctx: Context) -> None:
        for site in seed.sites:
            await ctx.db.insert(
                sites_tables.sites, id=site.id, name="Bench", state="active", locale="en",
                currency="EUR", zone="UTC", test_clock=False, slot=slot_of(site.id),
                epoch=EPOCH_FIRST, created_at=ctx.now, changed_at=ctx.now,
            )  # fmt: skip
            await ctx.db.insert(
                sites_tables.keys, id=site.key_id, site_id=site.id, name="bench",
                hash=site.key_hash, permissions=PERMISSIONS, created_at=ctx.now,
                expires_at=None, revoked_at=None,
            )  # fmt: skip
            await ctx.db.insert(
                sites_tables.settings, site_id=site.id, name=LIMITS.name,
                value=codec.encode(UNLIMITED), is_sealed=False, changed_at=ctx.now,
            )  # fmt: skip

    await cell.runtime.commit(write_sites, site=PLATFORM, cause="bench.fill", service="sites")
    for site in seed.sites:
        rows: list[dict[str, object]] = [
            {
                "id": one.id, "handle": one.handle, "title": one.title,
                "description": one.description,
                "price": Money(one.price.minor, one.price.currency), "stock": one.stock,
                "tags": one.tags, "attributes": one.attributes,
                "created_at": datetime.fromisoformat(one.created_at),
            }
            for one in seed.products[site.id]
        ]  # fmt: skip

        async def write_products(ctx: Context, rows: list[dict[str, object]] = rows) -> None:
            await ctx.db.insert_all(shelf_tables.products, rows)

        await cell.runtime.commit(write_products, site=site.id, cause="bench.fill", service="bench")


async def main(engine: str, where: str, seed_file: Path, port: int) -> None:
    """Serve until SIGTERM."""
    owner = os.environ.get("HANSA_BENCH_OWNER_DSN", "")
    cell = Cell(place(engine, where, owner), SERVICES)
    await cell.open()
    await fill(cell, read_seed(seed_file))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    try:
        await serve(cell.app, "127.0.0.1", port, on_started=lambda: None, stop=stop)
    finally:
        await cell.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
