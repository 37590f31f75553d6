"""The master key is rotated: killed in the middle it goes on; nothing is lost or left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hansa.assembly import OPERATOR, SERVICES, Cell, Place
from hansa.cli.main import main
from hansa.cli.secrets import rotate
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.resealing import KERNEL, reseal
from hansa.kernel.sealing import Sealer, parse_master_keys, read_master_keys
from hansa.platform.mail.api import SMTP
from hansa.platform.sites.api import NewKey, NewSite, create_key, create_site, set_setting
from hansa.platform.sites.api.settings import NewValue
from hansa.platform.webhooks.api import NewEndpoint, create_endpoint
from hansa.testing.postgres import Dsns

KEYS = 230
SMTP_VALUE = {"host": "smtp.example", "sender": "a@a.example", "password": "open sesame"}
KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from hansa.assembly import SERVICES, Place
from hansa.cli.secrets import _front
from hansa.kernel.resealing import reseal
from hansa.kernel.sealing import Sealer

async def main():
    folder, database, owner = sys.argv[1:]
    place = Place(Path(folder), database, owner)
    storage = place.storage()
    await storage.open()
    batches = 0
    def on_batch(count):
        nonlocal batches
        batches += 1
        if batches == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    columns = [one for service in SERVICES for one in service.sealed]
    await reseal(storage, Sealer(_front(place.folder / "master.key")), columns, on_batch=on_batch)

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty place on each engine, which the command line finds too."""
    monkeypatch.delenv("HANSA_MASTER_KEY", raising=False)
    monkeypatch.setenv("HANSA_FOLDER", str(tmp_path))
    if request.param == "sqlite":
        monkeypatch.delenv("HANSA_DATABASE", raising=False)
        return Place(tmp_path)
    dsns: Dsns = request.getfixturevalue("postgres_dsns")
    monkeypatch.setenv("HANSA_DATABASE", dsns.application)
    monkeypatch.setenv("HANSA_OWNER_DATABASE", dsns.owner)
    return Place(tmp_path, dsns.application, dsns.owner)


async def fill(cell: Cell) -> tuple[str, list[str]]:
    """Make a site with secrets of each kind; return it, and the keys that were shown."""
    runtime = cell.runtime
    site = (await runtime.do(create_site, OPERATOR, {"body": NewSite("shop")})).id
    shown = await answers(cell, site)
    await runtime.do(
        set_setting, OPERATOR,
        {"site": site, "name": "mail.smtp", "body": NewValue(SMTP_VALUE)},
    )  # fmt: skip
    endpoint = NewEndpoint("https://hooks.example/")
    await runtime.do(create_endpoint, Caller(site, SYSTEM), {"body": endpoint}, key="e")
    return site, shown


async def answers(cell: Cell, site: str) -> list[str]:
    """Return the keys as they are answered, the first time or again."""
    return [
        str(
            (
                await cell.runtime.do(
                    create_key, OPERATOR, {"site": site, "body": NewKey("k", ("a.*",))},
                    key=f"key{number}",
                )
            ).key
        )
        for number in range(KEYS)
    ]  # fmt: skip


async def heads(cell: Cell) -> dict[bytes, int]:
    """Return how many sealed values there are of each master key."""
    found: dict[bytes, int] = {}
    columns = [*KERNEL, *(one for service in SERVICES for one in service.sealed)]

    async def body(session: Any) -> None:
        for one in columns:
            for row in await session.fetch(f"SELECT {one.column} FROM {one.table}"):
                if bytes(row[0])[:1] == b"\x01":
                    head = bytes(row[0])[:5]
                    found[head] = found.get(head, 0) + 1

    deadline = asyncio.get_running_loop().time() + 30
    await cell.runtime.storage.read(body, site="platform", deadline=deadline, across=True)
    return found


def test_killed_in_the_middle_it_goes_on_and_leaves_no_old_value(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    async def before() -> tuple[str, list[str], int]:
        cell = Cell(place, background=False)
        await cell.open()
        try:
            site, shown = await fill(cell)
            assert len(await heads(cell)) == 1
            return site, shown, sum((await heads(cell)).values())
        finally:
            await cell.close()

    site, shown, count = asyncio.run(before())
    assert count == KEYS + 4
    old = read_master_keys(place.folder / "master.key")
    arguments = [str(place.folder), place.database, place.owner_database]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(read_master_keys(place.folder / "master.key")) == 2

    async def between() -> None:
        cell = Cell(place, background=False)
        await cell.open()
        try:
            both = await heads(cell)
            assert len(both) == 2
            assert sum(both.values()) == count
            assert await answers(cell, site) == shown
        finally:
            await cell.close()

    asyncio.run(between())
    assert main(["secrets", "rotate", "--settle-s", "0"]) == 0
    told = capsys.readouterr().out
    assert "values are sealed with the new key" in told
    (new,) = read_master_keys(place.folder / "master.key")
    assert [new] != old
    assert read_master_keys(place.folder / "master.key.old") == old

    async def after() -> None:
        cell = Cell(place, background=False)
        await cell.open()
        try:
            assert await heads(cell) == {Sealer([new]).head: count}
            assert await answers(cell, site) == shown
            smtp = await cell.directory.setting(site, SMTP)
            assert smtp is not None
            assert smtp.password == SMTP_VALUE["password"]
        finally:
            await cell.close()

    asyncio.run(after())
    assert (place.folder / "master.key").stat().st_mode & 0o077 == 0
    assert (place.folder / "master.key.old").stat().st_mode & 0o077 == 0


def test_a_running_process_takes_the_new_key_up(
    postgres_dsns: Dsns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HANSA_MASTER_KEY", raising=False)
    place = Place(tmp_path, postgres_dsns.application, postgres_dsns.owner)

    async def main() -> None:
        cell = Cell(place, background=False)
        await cell.open()
        try:
            site, shown = await fill(cell)
            assert await rotate(place, None, 0.0) == 0
            assert await answers(cell, site) == shown
            body = {"site": site, "body": NewKey("k", ("a.*",))}
            await cell.runtime.do(create_key, OPERATOR, body, key="later")
            (new,) = read_master_keys(tmp_path / "master.key")
            assert list(await heads(cell)) == [Sealer([new]).head]
        finally:
            await cell.close()

    asyncio.run(main())


def test_keys_of_the_environment_are_the_operators_to_change(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["secrets", "new-key"]) == 0
    old = capsys.readouterr().out.strip()
    assert main(["secrets", "new-key"]) == 0
    new = capsys.readouterr().out.strip()
    assert old != new
    monkeypatch.setenv("HANSA_MASTER_KEY", old)

    async def filled() -> None:
        cell = Cell(place, background=False)
        await cell.open()
        await fill(cell)
        await cell.close()

    asyncio.run(filled())
    assert main(["secrets", "rotate"]) == 1
    assert "Put a new one" in capsys.readouterr().err
    monkeypatch.setenv("HANSA_MASTER_KEY", f"{new},{old}")
    assert main(["secrets", "rotate", "--settle-s", "0"]) == 0
    assert f"{KEYS + 4} values" in capsys.readouterr().out
    assert not (place.folder / "master.key").exists()

    async def opened() -> None:
        cell = Cell(place, background=False)
        await cell.open()
        (head,) = await heads(cell)
        assert head == Sealer(parse_master_keys(new, "")).head
        await cell.close()

    asyncio.run(opened())


def test_a_value_that_no_key_opens_keeps_the_older_keys(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    async def spoilt() -> None:
        cell = Cell(place, background=False)
        await cell.open()
        site, _ = await fill(cell)
        stranger = Sealer([os.urandom(32)]).seal("sites.settings", site, b"{}")

        async def body(session: Any) -> None:
            mark = "?1" if session.dialect == "sqlite" else "$1"
            await session.run(f"UPDATE sites_settings SET value = {mark}", (stranger,))

        deadline = asyncio.get_running_loop().time() + 30
        await cell.runtime.storage.write(body, site="platform", deadline=deadline, across=True)
        await cell.close()

    asyncio.run(spoilt())
    assert main(["secrets", "rotate", "--settle-s", "0"]) == 1
    assert "1 values open with none of the known keys" in capsys.readouterr().err
    assert len(read_master_keys(place.folder / "master.key")) == 2


def test_what_is_resealed_meanwhile_by_others_is_left_alone(place: Place) -> None:
    async def main() -> None:
        cell = Cell(place, background=False)
        await cell.open()
        try:
            await fill(cell)
            old = read_master_keys(place.folder / "master.key")
            sealer = Sealer([os.urandom(32), *old])
            columns = [one for service in SERVICES for one in service.sealed]
            both = await asyncio.gather(*[reseal(cell.storage, sealer, columns) for _ in "ab"])
            assert sum(one.resealed for one in both) == KEYS + 4
            assert await heads(cell) == {sealer.head: KEYS + 4}
        finally:
            await cell.close()

    asyncio.run(main())
