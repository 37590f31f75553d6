"""A site copied from one cell into another through a file, and what is then to be seen of it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from tempfile import TemporaryFile
from typing import Any

from hansa.assembly import SERVICES
from hansa.kernel import migrating
from hansa.kernel.clock import Clock
from hansa.kernel.keeping import carrying
from hansa.kernel.keeping.belongings import Belonging
from hansa.kernel.keeping.sitefile import End, Reader
from hansa.kernel.storage import Storage


@asynccontextmanager
async def opened(*storages: Storage) -> AsyncIterator[None]:
    try:
        for one in storages:
            await one.open()
            await migrating.migrate(one, SERVICES)
        yield
    finally:
        for one in storages:
            await one.close()


async def copy_site(
    source: Storage, target: Storage, rows: Sequence[Belonging], site: str, slot: int, clock: Clock
) -> End:
    """Export a site and import it. Nobody may write for it meanwhile. Raises KeepingRefused."""
    with TemporaryFile() as between:
        await carrying.export(source, rows, site, slot, between, clock)
        return await carrying.take_in(target, rows, Reader(between), clock, cell="local")


def mentions(database: dict[str, list[tuple[Any, ...]]], site: str) -> dict[str, int]:
    """How many rows of which table have the site's id anywhere in them."""
    found = {name: sum(site in str(row) for row in rows) for name, rows in database.items()}
    return {name: count for name, count in found.items() if count}
