"""Where the shop is served, and where it is not."""

import asyncio
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from hansa import project
from hansa.assembly import SERVICES, Cell, Place
from hansa.kernel.context import Context
from hansa.kernel.operation import PUBLIC
from hansa.kernel.service import Service
from hansa.storefront import MOUNT
from tests.cli.server import Server, hansa


async def mounted(folder: Path, *services: Service, storefront: bool = True) -> bool:
    cell = Cell(Place(folder, synchronous="OFF"), services, background=False, storefront=storefront)
    await cell.open(migrate=True)
    try:
        assert (MOUNT in cell.app.home) == (MOUNT in cell.mounts)
        return MOUNT in cell.mounts
    finally:
        await cell.close()


def test_it_is_served_where_it_is_wanted_and_has_what_it_asks(tmp_path: Path) -> None:
    assert asyncio.run(mounted(tmp_path / "all", *SERVICES))
    assert not asyncio.run(mounted(tmp_path / "unwanted", *SERVICES, storefront=False))
    assert not asyncio.run(mounted(tmp_path / "nothing", *project.EVERYWHERE))


def test_a_service_of_its_name_keeps_its_path(tmp_path: Path) -> None:
    shop = Service("shop", owner="tests", package=__name__)

    @shop.query("GET /hours", needs=PUBLIC)
    async def hours(ctx: Context) -> str:
        """Tell when it is open."""
        return "always"

    assert not asyncio.run(mounted(tmp_path, *SERVICES, shop))


def test_serve_has_it_when_it_is_asked_to(tmp_path: Path) -> None:
    assert hansa("migrate", folder=tmp_path).returncode == 0
    with Server(tmp_path, "serve", "--storefront") as server:
        server.wait_for("Hansa serves on")
        with pytest.raises(HTTPError) as told:
            urlopen(f"http://localhost:{server.port}/shop/", timeout=10)
        assert told.value.code == 404
        assert b"No shop is at this address" in told.value.read()
        assert server.stop() == 0
